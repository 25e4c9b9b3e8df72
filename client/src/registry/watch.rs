//! A stream of the instances of a service that resumes after breaks.
//!
//! It ends when it is dropped or refused.

use std::{future::IntoFuture, time::Duration};

use futures::{Stream, future::BoxFuture, stream};
use tenure_proto::v1::{
    WatchEndpointsRequest, WatchEndpointsResponse, registry_client::RegistryClient,
};
use tokio::time::timeout;
use tonic::Streaming;

use super::view::{EndpointChange, View};
use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    freshness::{Freshness, impl_at_least_revision},
    id::Revision,
    registry::Selector,
    resume::Resume,
};

/// Longest silence of a stream before it counts as broken. A server sends a progress message every
/// ten seconds when nothing changes; this is three of them.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// The instances of a service: as they are first, then every change. Made by
/// [`Registry::watch_endpoints`](crate::Registry::watch_endpoints).
///
/// ```no_run
/// use tenure::{Client, EndpointChange, Selector};
///
/// # async fn example(client: Client) -> Result<(), tenure::Error> {
/// let mut watch = client.registry().watch_endpoints("billing", Selector::default()).await?;
/// while let Some(change) = watch.next().await {
///     match change? {
///         EndpointChange::Snapshot { registrations, .. } => println!("{registrations:?}"),
///         EndpointChange::Delta { updated, removed } => println!("{updated:?} {removed:?}"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a watch ends when it is dropped"]
pub struct EndpointWatch {
    client: Client,
    request: WatchEndpointsRequest,
    freshness: Freshness,
    link: Option<Streaming<WatchEndpointsResponse>>,
    view: View,
    resume: Resume,
    ended: bool,
}

/// Request to watch the instances of a service. Made by
/// [`Registry::watch_endpoints`](crate::Registry::watch_endpoints).
#[derive(Debug, Clone)]
#[must_use = "a watch starts when it is awaited"]
pub struct WatchEndpoints {
    client: Client,
    service: String,
    selector: Selector,
    freshness: Freshness,
}

impl_at_least_revision!(WatchEndpoints);

impl WatchEndpoints {
    pub(super) fn new(client: Client, service: String, selector: Selector) -> Self {
        Self {
            client,
            service,
            selector,
            freshness: Freshness::default(),
        }
    }

    /// Starts from the local state of the server, without confirming it with the quorum, unless it
    /// may be older than `age`.
    pub fn max_staleness(mut self, age: Duration) -> Self {
        self.freshness.lower_staleness(age);
        self
    }
}

impl IntoFuture for WatchEndpoints {
    type Output = Result<EndpointWatch, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut watch = EndpointWatch::idle(self.client, self.service, self.selector);
            watch.freshness = self.freshness;
            watch.connect().await?;
            Ok(watch)
        })
    }
}

impl EndpointWatch {
    /// A watch that connects when the first change is requested.
    pub(super) fn idle(client: Client, service: String, selector: Selector) -> Self {
        Self {
            client,
            request: WatchEndpointsRequest {
                service,
                selector: Some(selector.0),
            },
            freshness: Freshness::default(),
            link: None,
            view: View::default(),
            resume: Resume::default(),
            ended: false,
        }
    }

    /// Continues after an error, from the revision that was delivered last.
    pub(super) fn go_on(&mut self) {
        self.link = None;
        self.ended = false;
    }

    /// The next change; `None` after an error.
    ///
    /// Broken connections and transient failures of servers are not errors: the stream resumes at
    /// another endpoint, possibly with a snapshot. Revisions never decrease.
    ///
    /// # Errors
    /// A permanent refusal by the server, such as for an invalid name.
    ///
    /// # Cancel safety
    /// Cancel safe: no change is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<EndpointChange, Error>> {
        if self.ended {
            return None;
        }
        loop {
            match self.advance().await {
                Ok(Some(change)) => return Some(Ok(change)),
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    /// The changes as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<EndpointChange, Error>> {
        stream::unfold(self, |mut watch| async move {
            watch.next().await.map(|change| (change, watch))
        })
    }

    /// The revision of the changes delivered so far.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.view.delivered()
    }

    /// Advances by one step: connects, or receives one message.
    async fn advance(&mut self) -> Result<Option<EndpointChange>, Error> {
        let Some(link) = &mut self.link else {
            tokio::time::sleep(self.resume.next_pause()).await;
            match self.connect().await {
                Err(error) if error.allows_resume() => {
                    tracing::debug!(%error, "endpoints could not be watched");
                    return Ok(None);
                }
                outcome => return outcome.map(|()| None),
            }
        };
        // Receiving is cancel safe: a message is taken only when the future is ready.
        match timeout(SILENCE_MAX, link.message()).await {
            Ok(Ok(Some(message))) => return Ok(self.view.take(message)),
            Ok(Ok(None)) => {}
            Ok(Err(status)) => {
                let error = Error::from_status(status, Operation::Read, "server");
                if !error.allows_resume() {
                    return Err(error);
                }
                tracing::debug!(%error, "the stream of endpoints broke");
            }
            Err(_) => {
                tracing::debug!("the stream of endpoints is silent");
                self.client.move_on();
            }
        }
        self.link = None;
        Ok(None)
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let call = Call::tenure(Operation::Read, Lane::Bulk)
            .streaming()
            .require_leader()
            .with_freshness(self.freshness);
        let request = self.request.clone();
        let link = rpc!(self.client, call, RegistryClient.watch_endpoints(request)).await?;
        self.view.restart();
        self.link = Some(link);
        self.resume.opened();
        Ok(())
    }
}

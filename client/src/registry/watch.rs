//! A stream of the instances of a service that resumes after breaks.
//!
//! It has no end of its own; dropping it ends it.

use std::{future::IntoFuture, time::Duration};

use futures::{Stream, future::BoxFuture, stream};
use tenure_proto::v1::{
    WatchEndpointsRequest, WatchEndpointsResponse, registry_client::RegistryClient,
};
use tokio::time::timeout;
use tonic::Streaming;

use super::view::{EndpointChange, View};
use crate::{
    call::{Call, ask},
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    freshness::{Freshness, at_least},
    id::Revision,
    registry::Selector,
    resume::Resume,
};

/// Longest silence of a stream before it counts as broken. A server sends a mark every ten seconds
/// when nothing changes; three in a row are not lost by chance.
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

/// A watch of the instances of a service to be started. Made by
/// [`Registry::watch_endpoints`](crate::Registry::watch_endpoints).
#[derive(Debug, Clone)]
#[must_use = "a watch starts when it is awaited"]
pub struct WatchEndpoints {
    client: Client,
    service: String,
    selector: Selector,
    freshness: Freshness,
}

at_least!(WatchEndpoints);

impl WatchEndpoints {
    pub(super) fn new(client: Client, service: String, selector: Selector) -> Self {
        Self {
            client,
            service,
            selector,
            freshness: Freshness::default(),
        }
    }

    /// Starts from what the server that is asked knows, unless that may be older than this, instead
    /// of making sure that it is the latest.
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
    /// One that connects when the first change is asked for.
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

    /// Goes on after an error, from what was handed out before: it does not go back in time.
    pub(super) fn go_on(&mut self) {
        self.link = None;
        self.ended = false;
    }

    /// The next change; nothing after an error.
    ///
    /// Broken connections and transient failures of servers are not errors: the stream resumes at
    /// another endpoint, however long that takes, with a snapshot if it must. It never goes back
    /// in time.
    ///
    /// # Errors
    /// A refusal that will not pass, such as a name that is none.
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

    /// The revision that everything handed out so far is of.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.view.delivered()
    }

    /// Takes one step: connects, or takes one message.
    async fn advance(&mut self) -> Result<Option<EndpointChange>, Error> {
        let Some(link) = &mut self.link else {
            tokio::time::sleep(self.resume.next_pause()).await;
            match self.connect().await {
                Err(error) if error.ends_stream_for_now() => {
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
                if !error.ends_stream_for_now() {
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
            .fresh(self.freshness);
        let request = self.request.clone();
        let link = ask!(self.client, call, RegistryClient.watch_endpoints(request)).await?;
        self.view.restart();
        self.link = Some(link);
        self.resume.opened();
        Ok(())
    }
}

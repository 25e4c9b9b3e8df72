//! Client-side load balancing of gRPC calls over the instances of a service.
//!
//! tower's own `p2c::Balance` is not used: it chooses the less loaded of two ready services without
//! weights or zones; it detects failures by readiness only, and tonic's channels are always ready;
//! and sharing it needs a buffer with a separate task. [`Resolver::services`] supports it
//! nevertheless.

mod choice;
mod discover;
mod peer;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use parking_lot::RwLock;
use tokio::{task::AbortHandle, time::Instant};
use tonic::{
    Status,
    transport::{Channel, Endpoint as Transport},
};
use tower::Service;

use self::peer::{InFlight, Peer, Place};
use super::{EndpointView, Resolver};
use crate::response::{InstanceEndpoint, RegisteredInstance};

/// Header with the status of a call whose response has no body.
const STATUS: &str = "grpc-status";
/// The gRPC status `UNAVAILABLE`.
const UNAVAILABLE: &str = "14";
/// Protocol of the endpoints that are called unless the caller says otherwise.
const PROTOCOL: &str = "grpc";

/// Makes the service that reaches an address such as `http://10.0.0.7:8443`.
type Connect<S> = Arc<dyn Fn(&str) -> Result<S, BoxError> + Send + Sync>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Peers<S> = Arc<RwLock<Arc<Vec<Arc<Peer<S>>>>>>;

/// Options of a [`Balancer`]: which endpoints of instances are called, and how to connect to them.
pub struct BalanceOptions<S = Channel> {
    protocol: String,
    zone: Option<String>,
    connect: Connect<S>,
}

impl Default for BalanceOptions {
    fn default() -> Self {
        Self::with(|address| Ok(Transport::from_shared(address.to_owned())?.connect_lazy()))
    }
}

impl<S> BalanceOptions<S> {
    /// Connects to instances by `connect`, which makes a service for an address such as
    /// `http://10.0.0.7:8443`. An instance for which it fails is not called.
    pub fn with(connect: impl Fn(&str) -> Result<S, BoxError> + Send + Sync + 'static) -> Self {
        Self {
            protocol: PROTOCOL.to_owned(),
            zone: None,
            connect: Arc::new(connect),
        }
    }

    /// Calls the endpoint of this protocol; `grpc` unless set. Instances without one are not
    /// called.
    #[must_use]
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocol = protocol.into();
        self
    }

    /// Prefers instances of this zone until they are four times as loaded as others.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    fn place(&self, instance: &RegisteredInstance) -> Option<(Place, u32)> {
        let mut endpoints = instance.endpoints();
        let endpoint = endpoints.find(|endpoint| endpoint.protocol == self.protocol)?;
        let near = self
            .zone
            .as_ref()
            .is_some_and(|zone| zone == instance.zone());
        let place = Place {
            id: instance.id().to_owned(),
            incarnation: instance.incarnation(),
            address: address(&endpoint),
            near,
        };
        Some((place, instance.weight()))
    }
}

impl<S> fmt::Debug for BalanceOptions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BalanceOptions")
            .field("protocol", &self.protocol)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

fn address(endpoint: &InstanceEndpoint<'_>) -> String {
    let InstanceEndpoint { host, port, .. } = endpoint;
    // An IPv6 address needs brackets.
    if host.contains(':') && !host.starts_with('[') {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    }
}

/// Spreads calls over the instances of a service by power of two choices: of two instances drawn by
/// weight, it calls the one with fewer calls under way relative to its weight. An instance that
/// fails five times in a row is ejected for a while, unless most are; a call that its caller drops
/// unanswered after more than a second counts as a failure. Clones share their state.
///
/// It can be used in place of a channel:
///
/// ```no_run
/// use tenure::{BalanceOptions, Balancer, Client, Selector};
///
/// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let resolver = client.registry().resolver("billing", Selector::default().passing_or_all());
/// resolver.ready().await?;
/// let balancer = Balancer::new(resolver, BalanceOptions::default().zone("eu-1a"));
/// // let billing = BillingClient::new(balancer);
/// # drop(balancer);
/// # Ok(())
/// # }
/// ```
pub struct Balancer<S = Channel> {
    service: Arc<str>,
    peers: Peers<S>,
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<S> Clone for Balancer<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            peers: Arc::clone(&self.peers),
            _task: Arc::clone(&self._task),
        }
    }
}

impl<S> fmt::Debug for Balancer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer")
            .field("service", &self.service)
            .field("peers", &self.peers.read().len())
            .finish_non_exhaustive()
    }
}

impl<S: Clone + Send + Sync + 'static> Balancer<S> {
    /// Calls the instances of a resolver, however old its view is.
    ///
    /// # Panics
    /// Outside a runtime of tokio.
    #[must_use]
    pub fn new(resolver: Resolver, options: BalanceOptions<S>) -> Self {
        let peers = Peers::default();
        let service: Arc<str> = resolver.service().into();
        let follow = follow(resolver, options, Arc::clone(&peers));
        Self {
            service,
            peers,
            _task: Arc::new(Task(tokio::spawn(follow).abort_handle())),
        }
    }

    fn choose(&self) -> Result<InFlight<S>, Status> {
        let peers = Arc::clone(&self.peers.read());
        let now = Instant::now();
        let loads: Vec<_> = peers.iter().map(|peer| peer.load(now)).collect();
        let chosen = choice::choose(&loads, &mut rand::rng());
        let chosen = chosen.and_then(|index| peers.get(index)).map(Peer::begin);
        chosen.ok_or_else(|| {
            let text = format!("no instance of {:?} is known", self.service);
            Status::unavailable(text)
        })
    }
}

/// Updates the peers from the views of the resolver. A peer keeps its state while its identity is
/// unchanged.
async fn follow<S>(mut resolver: Resolver, options: BalanceOptions<S>, peers: Peers<S>) {
    let mut view = resolver.view();
    loop {
        if let Some(view) = view {
            let next = renewed(&peers.read(), &view, &options);
            *peers.write() = Arc::new(next);
        }
        match resolver.changed().await {
            Ok(next) => view = Some(next),
            Err(_) => return,
        }
    }
}

fn renewed<S>(
    peers: &[Arc<Peer<S>>],
    view: &EndpointView,
    options: &BalanceOptions<S>,
) -> Vec<Arc<Peer<S>>> {
    let known: BTreeMap<&str, &Arc<Peer<S>>> = peers
        .iter()
        .map(|peer| (peer.place.id.as_str(), peer))
        .collect();
    let mut next = Vec::with_capacity(peers.len());
    for registration in view.registrations() {
        let Some((place, weight)) = options.place(registration) else {
            continue;
        };
        if let Some(peer) = known
            .get(place.id.as_str())
            .filter(|peer| peer.place == place)
        {
            peer.set_weight(weight);
            next.push(Arc::clone(peer));
            continue;
        }
        match (options.connect)(&place.address) {
            Ok(service) => next.push(Arc::new(Peer::new(place, weight, service))),
            Err(error) => {
                tracing::warn!(id = place.id, error, "an instance cannot be called");
            }
        }
    }
    next
}

impl<S, Out, In> Service<Request<Out>> for Balancer<S>
where
    S: Service<Request<Out>, Response = Response<In>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    Out: Send + 'static,
    In: Body<Data = Bytes> + Unpin + Send + 'static,
{
    type Response = Response<Balanced<S, In>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    /// Always ready: the instance is selected by the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Out>) -> Self::Future {
        let chosen = self.choose();
        Box::pin(async move {
            // Dropped with the future, when the caller stops waiting.
            let mut call = chosen?;
            let mut service = call.send().clone();
            let answer = async {
                futures::future::poll_fn(|context| service.poll_ready(context)).await?;
                service.call(request).await
            };
            match answer.await {
                Ok(answer) => {
                    let status = answer.headers().get(STATUS);
                    if status.is_some_and(|status| status == UNAVAILABLE) {
                        call.failed();
                    } else {
                        call.succeeded();
                    }
                    Ok(answer.map(|body| Balanced { body, _call: call }))
                }
                Err(error) => {
                    call.failed();
                    Err(error.into())
                }
            }
        })
    }
}

/// The body of a response. The call counts as in flight until it is dropped.
#[derive(Debug)]
pub struct Balanced<S, In> {
    body: In,
    _call: InFlight<S>,
}

impl<S, In: Body + Unpin> Body for Balanced<S, In>
where
    Self: Unpin,
{
    type Data = In::Data;
    type Error = In::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<In::Data>, In::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Listeners and their servers: for peers, for clients (gRPC and HTTP pages), and for metrics.

mod unfinished;

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use futures::{StreamExt, stream::FuturesUnordered};
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{service::Routes, transport::Server};
use tower::ServiceExt;

use self::unfinished::UnfinishedLayer;
use super::{AppError, tls::Secured};
use crate::{
    config::{Bind, Config, Url},
    metrics::{AcceptMetrics, Metrics},
    rpc::{self, Access, CallsLayer, GatewayLayer, Serves},
    share::Receiving,
    tasks,
    transport::{Gate, Incoming, Places, Transport, admitted, secured, served},
};

/// Flow-control window of one stream from a peer, in bytes; its connection has twice that.
const PEER_STREAM_WINDOW: u32 = 2 << 20;
/// Open calls of one connection on the port of members. A member has some ten: a stream for each
/// kind of traffic, and its questions and groups in flight. More wait at the caller.
const PEER_STREAMS_MAX: u32 = 256;

/// Flow-control window of one stream from a client: the bytes of it that may wait unread, which are
/// charged to nothing. About HTTP/2's default. All calls that may be open can hold a gigabyte.
const CLIENT_STREAM_WINDOW: u32 = 64 << 10;
/// Flow-control window of a client's connection: the bytes that all its streams may leave unread.
///
/// The HTTP/2 library also derives from it how many small frames may wait, half of it at about 240
/// bytes a frame, and closes the connection beyond that. The value allows as many as one stream's
/// window holds renewals or new watches, so that flow control delays a client before its connection
/// would be closed.
const CLIENT_CONNECTION_WINDOW: u32 = 32 << 20;

/// Bytes of metadata per call: tokens and traces take tens of kilobytes. The library's default is
/// 16 KiB.
const METADATA_BYTES_MAX: u32 = 256 << 10;

/// Idle time before a keepalive ping on a connection from a peer: the connection of a machine that
/// failed would stay open otherwise.
const PEER_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Time for the peer to answer the ping. Long, so that a member that reads a snapshot from a slow
/// disk keeps its connections.
const PEER_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// Every listener. Opened before the node starts, so that an address in use is reported at once.
pub(super) struct Listeners {
    peers: Vec<Listener>,
    clients: Vec<Listener>,
    /// Of HTTP alone.
    http: Vec<Listener>,
    metrics: Vec<Listener>,
    /// Places for connections of clients and of metrics pages.
    places: Places,
}

/// One address, and what its connections go through.
struct Listener {
    incoming: Incoming,
    gate: Option<Gate>,
}

impl Listener {
    /// The connections that may be served.
    fn admitted(self, places: Places, accepting: AcceptMetrics) -> Incoming {
        let admitted = admitted(self.incoming, places, accepting);
        match self.gate {
            Some(gate) => secured(admitted, gate),
            None => admitted,
        }
    }
}

impl Listeners {
    pub(super) async fn open(
        config: &Config,
        transport: &dyn Transport,
        secured: &Secured,
    ) -> Result<Self, AppError> {
        let of_peers = |urls: &[&Url]| secured.gate_of_peers(urls);
        let of_clients = |urls: &[&Url]| secured.gate_of_clients(urls);
        let (peers, clients) = (&config.listen_peer_urls, &config.listen_client_urls);
        let (http, metrics) = (&config.listen_client_http_urls, &config.listen_metrics_urls);
        Ok(Self {
            peers: open(peers, "--listen-peer-urls", transport, of_peers).await?,
            clients: open(clients, "--listen-client-urls", transport, of_clients).await?,
            http: open(http, "--listen-client-http-urls", transport, of_clients).await?,
            metrics: open(metrics, "--listen-metrics-urls", transport, of_clients).await?,
            places: Places::within_descriptors(),
        })
    }
}

/// Builds a server that accepts HTTP/1, too, and closes connections whose client does not answer
/// pings.
fn server(config: &Config) -> Server {
    Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(CLIENT_STREAM_WINDOW)
        .initial_connection_window_size(CLIENT_CONNECTION_WINDOW)
        .max_concurrent_streams(config.max_concurrent_streams)
        .http2_keepalive_interval(config.grpc_keepalive_interval)
        .http2_keepalive_timeout(Some(config.grpc_keepalive_timeout))
        .http2_max_header_list_size(METADATA_BYTES_MAX)
}

/// The gateway of the client port, if it has one, and who may call its pages.
fn gateway(config: &Config, receiving: &Receiving) -> GatewayLayer {
    GatewayLayer::new(
        config.enable_grpc_gateway,
        access(config),
        config.max_request_bytes,
        receiving.clone(),
    )
}

/// Who may call the pages of a port without a gateway.
fn pages_alone(config: &Config) -> GatewayLayer {
    let receiving = Receiving::default();
    GatewayLayer::new(false, access(config), config.max_request_bytes, receiving)
}

fn access(config: &Config) -> Access {
    Access {
        origins: config.cors.clone(),
        hosts: config.host_whitelist.clone(),
    }
}

/// Serves the pages before the node has started. Calls are answered as unavailable.
pub(super) fn spawn_pages(
    listeners: &mut Listeners,
    pages: &Router,
    config: &Config,
    metrics: &Arc<Metrics>,
    stopping: &CancellationToken,
) -> Vec<JoinHandle<Result<(), tonic::transport::Error>>> {
    let accepting = metrics.network.accepting();
    let mut servers = Vec::new();
    let receiving = Receiving::default();
    let gateway = gateway(config, &receiving);
    let clients = listeners.clients.iter_mut().chain(&mut listeners.http);
    for listener in clients.chain(&mut listeners.metrics) {
        let lent = Listener {
            incoming: lend(&mut listener.incoming),
            gate: listener.gate.clone(),
        };
        let incoming = lent.admitted(listeners.places.clone(), accepting.clone());
        let server = server(config)
            .layer(gateway.clone())
            .layer(UnfinishedLayer::new(receiving.clone()))
            .add_routes(Routes::from(beside_grpc(unavailable(), pages.clone())));
        let stop = stopping.clone().cancelled_owned();
        servers.push(tasks::spawn("pages", async move {
            server.serve_with_incoming_shutdown(incoming, stop).await
        }));
    }
    servers
}

/// Returns a second stream of the same connections. Both take connections from it, so one of them
/// must be dropped.
fn lend(incoming: &mut Incoming) -> Incoming {
    let owned = std::mem::replace(incoming, futures::stream::empty().boxed());
    let shared = Arc::new(Mutex::new(owned));
    let stream = |shared: Arc<Mutex<Incoming>>| {
        futures::stream::poll_fn(move |context| shared.lock().poll_next_unpin(context)).boxed()
    };
    *incoming = stream(Arc::clone(&shared));
    stream(shared)
}

/// Answers every gRPC call as unavailable.
fn unavailable() -> Routes {
    let refuse = || async {
        let text = "etcdserver: this member brings back its state";
        tonic::Status::unavailable(text).into_http::<axum::body::Body>()
    };
    Routes::from(Router::new().fallback(refuse))
}

/// Listens on every address once, also when it stands there with and without TLS.
async fn open(
    urls: &[Url],
    flag: &'static str,
    transport: &dyn Transport,
    gate: impl Fn(&[&Url]) -> Option<Gate>,
) -> Result<Vec<Listener>, AppError> {
    let mut addresses: Vec<(Bind, Vec<&Url>)> = Vec::new();
    for url in urls {
        let Some(address) = url.bind() else {
            continue;
        };
        match addresses.iter_mut().find(|(known, _)| *known == address) {
            Some((_, urls)) => urls.push(url),
            None => addresses.push((address, vec![url])),
        }
    }
    let mut listeners = Vec::new();
    for (address, urls) in addresses {
        let incoming = transport.listen(address.clone()).await;
        listeners.push(Listener {
            incoming: incoming.map_err(|source| listen_error(flag, address, source))?,
            gate: gate(&urls),
        });
    }
    Ok(listeners)
}

const fn listen_error(flag: &'static str, address: Bind, source: std::io::Error) -> AppError {
    AppError::Listen {
        flag,
        address,
        source,
    }
}

type Servers = FuturesUnordered<JoinHandle<Result<(), tonic::transport::Error>>>;

/// The running servers.
pub(super) struct Serving {
    peers: Servers,
    clients: Servers,
    /// Stops the peer servers when dropped. They serve while calls of clients are drained, since
    /// those wait for entries from the next leader.
    _peers_stop: DropGuard,
}

impl Serving {
    /// Resolves when a server ends before shutdown.
    pub(super) async fn next_end(&mut self) -> Result<(), AppError> {
        let ended = tokio::select! {
            // Cancel-safe: either arm ends the node, so the state of the other no longer matters.
            Some(ended) = self.peers.next() => ended,
            Some(ended) = self.clients.next() => ended,
            else => return Ok(()),
        };
        ended.map_or(Ok(()), |result| result.map_err(AppError::Served))
    }

    /// Resolves when every call of a client has ended. Does not wait for peers, which keep their
    /// connections open.
    pub(super) async fn clients_ended(&mut self) {
        while self.clients.next().await.is_some() {}
    }
}

/// The running servers for peers.
pub(super) struct PeersServing {
    servers: Servers,
    stop: DropGuard,
}

/// Starts a server on every listener for peers.
pub(super) fn spawn_peers(
    listeners: &mut Listeners,
    peer_routes: Routes,
    metrics: &Arc<Metrics>,
) -> PeersServing {
    let servers = Servers::new();
    let stopping = CancellationToken::new();
    let accepting = metrics.network.accepting();
    let of_members = Places::of_members();
    for listener in std::mem::take(&mut listeners.peers) {
        let incoming = listener.admitted(of_members.clone(), accepting.clone());
        let server = Server::builder()
            .http2_keepalive_interval(Some(PEER_KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(PEER_KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(PEER_STREAM_WINDOW)
            .initial_connection_window_size(PEER_STREAM_WINDOW * 2)
            .max_concurrent_streams(PEER_STREAMS_MAX)
            .add_routes(peer_routes.clone());
        let stop = stopping.clone().cancelled_owned();
        servers.push(tasks::spawn("peers", async move {
            server.serve_with_incoming_shutdown(incoming, stop).await
        }));
    }
    PeersServing {
        servers,
        stop: stopping.drop_guard(),
    }
}

/// Starts a server on every listener for clients, beside those for `peers`.
pub(super) fn spawn(
    listeners: Listeners,
    peers: PeersServing,
    (client_routes, calls): (Routes, CallsLayer),
    pages: Router,
    config: &Config,
    metrics: &Arc<Metrics>,
    stopping: &CancellationToken,
) -> Serving {
    let clients = Servers::new();
    let accepting = metrics.network.accepting();
    let both = Routes::from(beside_grpc(client_routes, pages.clone()));
    // One for all addresses: its bounds are the node's.
    let receiving = Receiving::default();
    let unfinished = UnfinishedLayer::new(receiving.clone());
    let gateway = gateway(config, &receiving);
    let serves = if listeners.http.is_empty() {
        Serves::Both
    } else {
        Serves::Grpc
    };
    let of_clients = listeners.clients.into_iter().map(|it| (it, serves));
    let of_http = listeners.http.into_iter().map(|it| (it, Serves::Http));
    for (listener, serves) in of_clients.chain(of_http) {
        let incoming = listener.admitted(listeners.places.clone(), accepting.clone());
        let server = server(config)
            .layer(gateway.serving(serves))
            .layer(unfinished.clone())
            .layer(metrics.grpc_layer(config.warning_unary_request_duration))
            .layer(rpc::EtcdsWords)
            .layer(calls.clone())
            .add_routes(both.clone());
        let stop = stopping.clone().cancelled_owned();
        clients.push(tasks::spawn("clients", async move {
            server
                .serve_with_incoming_shutdown(served(incoming), stop)
                .await
        }));
    }
    let pages_alone = pages_alone(config);
    for listener in listeners.metrics {
        let incoming = listener.admitted(listeners.places.clone(), accepting.clone());
        let server = server(config)
            .layer(pages_alone.clone())
            .add_routes(Routes::from(pages.clone()));
        let stop = stopping.clone().cancelled_owned();
        clients.push(tasks::spawn("metrics", async move {
            server.serve_with_incoming_shutdown(incoming, stop).await
        }));
    }
    Serving {
        peers: peers.servers,
        clients,
        _peers_stop: peers.stop,
    }
}

/// Combines the pages and the services on one port. An unknown path is answered in the protocol of
/// the request.
fn beside_grpc(services: Routes, pages: Router) -> Router {
    let services = services.into_axum_router();
    let unknown_call = services.clone();
    let unknown_page = pages.clone();
    let fallback = move |request: Request| async move {
        let grpc = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let router = if grpc { unknown_call } else { unknown_page };
        router.oneshot(request).await
    };
    services
        .reset_fallback()
        .merge(pages.reset_fallback())
        .fallback(fallback)
}

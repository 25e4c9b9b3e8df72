//! Listeners and the servers on them: peers, clients with HTTP beside gRPC, and metrics.

mod unfinished;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use futures::{StreamExt, stream::FuturesUnordered};
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{service::Routes, transport::Server};
use tower::ServiceExt;

use self::unfinished::UnfinishedLayer;
use super::AppError;
use crate::{
    config::{Config, Url},
    metrics::Metrics,
    rpc::{self, CallsLayer},
    tasks,
    transport::{Incoming, Places, Transport, admitted},
};

/// Flow-control window of one stream from a peer, and of its connection.
const PEER_STREAM_WINDOW: u32 = 2 << 20;

/// Flow-control window of one stream from a client: what of it may wait unread.
const CLIENT_STREAM_WINDOW: u32 = 1 << 20;
/// Flow-control window of a client's connection: what all its streams together may leave unread.
///
/// The HTTP/2 library also derives from it how many small frames may wait, by half of it over some
/// 240 bytes a frame, and ends the connection beyond them. This many are as many renewals or new
/// watches as one stream's window holds, so that flow control makes a client wait before its
/// connection would be lost.
const CLIENT_CONNECTION_WINDOW: u32 = 32 << 20;

/// Metadata of one call: tokens and traces take tens of kilobytes. The library's own limit is
/// 16 KiB.
const METADATA_BYTES_MAX: u32 = 256 << 10;

/// How long a connection on the port of members may be silent before it is asked whether its other
/// end is there: that of a member whose machine is gone would stay for good.
const PEER_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long the other end may take to say so. Long, so that a member that reads a snapshot from a
/// slow disk keeps its connections.
const PEER_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// Every listener, open before the node starts: an address in use is told at once.
pub(super) struct Listeners {
    peers: Vec<Incoming>,
    clients: Vec<Incoming>,
    metrics: Vec<Incoming>,
    /// Those of clients and of pages.
    places: Places,
}

impl Listeners {
    pub(super) async fn open(config: &Config, transport: &dyn Transport) -> Result<Self, AppError> {
        Ok(Self {
            peers: open(&config.listen_peer_urls, "--listen-peer-urls", transport).await?,
            clients: open(
                &config.listen_client_urls,
                "--listen-client-urls",
                transport,
            )
            .await?,
            metrics: open(
                &config.listen_metrics_urls,
                "--listen-metrics-urls",
                transport,
            )
            .await?,
            places: Places::within_descriptors(),
        })
    }
}

/// A server that takes HTTP/1, too, and ends connections whose other end is gone.
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

/// The pages while there is no node yet. What clients ask for is not there.
pub(super) fn spawn_pages(
    listeners: &mut Listeners,
    pages: &Router,
    config: &Config,
    metrics: &Arc<Metrics>,
    stopping: &CancellationToken,
) -> Vec<JoinHandle<Result<(), tonic::transport::Error>>> {
    let accepting = metrics.network.accepting();
    let mut servers = Vec::new();
    for incoming in listeners.clients.iter_mut().chain(&mut listeners.metrics) {
        let places = listeners.places.clone();
        let incoming = admitted(lend(incoming), places, accepting.clone());
        let server = server(config)
            .layer(UnfinishedLayer::new())
            .add_routes(Routes::from(beside_grpc(unavailable(), pages.clone())));
        let stop = stopping.clone().cancelled_owned();
        servers.push(tasks::spawn("pages", async move {
            server.serve_with_incoming_shutdown(incoming, stop).await
        }));
    }
    servers
}

/// The same connections in a stream of their own. Both take them, so one must be dropped.
fn lend(incoming: &mut Incoming) -> Incoming {
    let owned = std::mem::replace(incoming, futures::stream::empty().boxed());
    let shared = Arc::new(Mutex::new(owned));
    let stream = |shared: Arc<Mutex<Incoming>>| {
        futures::stream::poll_fn(move |context| shared.lock().poll_next_unpin(context)).boxed()
    };
    *incoming = stream(Arc::clone(&shared));
    stream(shared)
}

/// Services of which none can be called now.
fn unavailable() -> Routes {
    let refuse = || async {
        let text = "etcdserver: this member brings back its state";
        tonic::Status::unavailable(text).into_http::<axum::body::Body>()
    };
    Routes::from(Router::new().fallback(refuse))
}

async fn open(
    urls: &[Url],
    flag: &'static str,
    transport: &dyn Transport,
) -> Result<Vec<Incoming>, AppError> {
    let mut listeners = Vec::new();
    for address in urls.iter().filter_map(Url::bind_address) {
        let listener = transport.listen(address).await;
        listeners.push(listener.map_err(|source| listen_error(flag, address, source))?);
    }
    Ok(listeners)
}

const fn listen_error(flag: &'static str, address: SocketAddr, source: std::io::Error) -> AppError {
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
    /// Ends the servers for peers, which serve on while clients' calls are finished: those wait
    /// for entries that arrive from the next leader.
    _peers_stop: DropGuard,
}

impl Serving {
    /// Resolves when a server ends before it is told to.
    pub(super) async fn next_end(&mut self) -> Result<(), AppError> {
        let ended = tokio::select! {
            // Either arm ends the node, so what the other had seen no longer matters.
            Some(ended) = self.peers.next() => ended,
            Some(ended) = self.clients.next() => ended,
            else => return Ok(()),
        };
        ended.map_or(Ok(()), |result| result.map_err(AppError::Served))
    }

    /// Resolves when every call of a client is finished. Peers keep their connections open for
    /// good, and are not waited for.
    pub(super) async fn clients_ended(&mut self) {
        while self.clients.next().await.is_some() {}
    }
}

/// Starts the servers.
pub(super) fn spawn(
    listeners: Listeners,
    peer_routes: Routes,
    (client_routes, calls): (Routes, CallsLayer),
    pages: Router,
    config: &Config,
    metrics: &Arc<Metrics>,
    stopping: &CancellationToken,
) -> Serving {
    let (peers, clients) = (Servers::new(), Servers::new());
    let peers_stopping = CancellationToken::new();
    let accepting = metrics.network.accepting();
    let of_members = Places::of_members();
    for incoming in listeners.peers {
        let incoming = admitted(incoming, of_members.clone(), accepting.clone());
        let server = Server::builder()
            .http2_keepalive_interval(Some(PEER_KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(PEER_KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(PEER_STREAM_WINDOW)
            .initial_connection_window_size(PEER_STREAM_WINDOW * 2)
            .add_routes(peer_routes.clone());
        let stop = peers_stopping.clone().cancelled_owned();
        peers.push(tasks::spawn("peers", async move {
            server.serve_with_incoming_shutdown(incoming, stop).await
        }));
    }
    let both = Routes::from(beside_grpc(client_routes, pages.clone()));
    for incoming in listeners.clients {
        let incoming = admitted(incoming, listeners.places.clone(), accepting.clone());
        let server = server(config)
            .layer(UnfinishedLayer::new())
            .layer(metrics.grpc_layer(config.warning_unary_request_duration))
            .layer(rpc::EtcdsWords)
            .layer(calls.clone())
            .add_routes(both.clone());
        let stop = stopping.clone().cancelled_owned();
        clients.push(tasks::spawn("clients", async move {
            server.serve_with_incoming_shutdown(incoming, stop).await
        }));
    }
    for incoming in listeners.metrics {
        let incoming = admitted(incoming, listeners.places.clone(), accepting.clone());
        let server = server(config).add_routes(Routes::from(pages.clone()));
        let stop = stopping.clone().cancelled_owned();
        clients.push(tasks::spawn("metrics", async move {
            server.serve_with_incoming_shutdown(incoming, stop).await
        }));
    }
    Serving {
        peers,
        clients,
        _peers_stop: peers_stopping.drop_guard(),
    }
}

/// The pages and the services on one port. A path that neither knows is answered in the caller's
/// protocol.
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

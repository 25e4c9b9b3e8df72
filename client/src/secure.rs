//! Opens secured connections, and finds out why one cannot be.
//!
//! In TLS 1.3 a server that refuses the client's certificate says so after the handshake, when the
//! client considers it finished. So a connection is used only once the server sent something more:
//! servers of HTTP/2 begin with their settings. Otherwise the refusal would look like a request
//! whose outcome is unknown.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::{
    endpoint::Address,
    error::{Error, TlsError, TlsFailure},
    tls::{InForce, Tls},
};

/// How long the first bytes of a server are waited for. One that waits for the client's first costs
/// each new connection this much.
const FIRST_BYTES_MAX: Duration = Duration::from_millis(500);
/// Most of these bytes that are read before the connection is used.
const FIRST_BYTES: usize = 64;

/// Opens connections to one endpoint. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Connector(Arc<Target>);

#[derive(Debug)]
struct Target {
    authority: String,
    name: ServerName<'static>,
    tls: Tls,
    /// The configuration of the latest connection, and what it was made of.
    latest: Mutex<(InForce, Arc<ClientConfig>)>,
    limit: Duration,
}

impl Connector {
    /// Opens connections to `address`, each within `limit`.
    pub(crate) fn new(address: &Address, tls: &Tls, limit: Duration) -> Result<Self, Error> {
        let in_force = tls.in_force();
        let config = Arc::new(tls.client_config(&in_force)?);
        Ok(Self(Arc::new(Target {
            name: tls.name_of(address.host())?,
            tls: tls.clone(),
            latest: Mutex::new((in_force, config)),
            authority: address.authority.clone(),
            limit,
        })))
    }

    /// A channel that opens its connections with this.
    pub(crate) fn connect(&self, endpoint: &Endpoint) -> Channel {
        let target = Arc::clone(&self.0);
        endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let target = Arc::clone(&target);
            async move { target.open().await.map(TokioIo::new) }
        }))
    }
}

impl Target {
    async fn open(self: &Arc<Self>) -> io::Result<Begun> {
        let opened = timeout(self.limit, self.handshake()).await;
        let stream = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let mut begun = Begun {
            head: [0; FIRST_BYTES],
            unread: 0..0,
            stream,
        };
        let first = begun.stream.read(&mut begun.head);
        match timeout(FIRST_BYTES_MAX, first).await {
            Ok(Ok(0)) => {
                return Err(io::Error::other(TlsError {
                    failure: TlsFailure::Handshake,
                    text: "the server closed the connection after the TLS handshake".to_owned(),
                }));
            }
            Ok(Ok(length)) => begun.unread = 0..length,
            Ok(Err(error)) => return Err(self.explain(&error)),
            // It waits for the client, so it has nothing against its certificate.
            Err(_) => {}
        }
        Ok(begun)
    }

    async fn handshake(self: &Arc<Self>) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let config = if self.tls.reads_files() {
            let target = Arc::clone(self);
            let read = spawn_blocking(move || target.config()).await;
            read.map_err(io::Error::other)?
        } else {
            self.config()
        };
        let connector = TlsConnector::from(config.map_err(io::Error::other)?);
        let connected = connector.connect(self.name.clone(), stream).await;
        connected.map_err(|error| self.explain(&error))
    }

    /// The configuration of a connection that is opened now. One that is used again knows the
    /// sessions of connections before, so it is made anew only when something changed.
    fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let in_force = self.tls.in_force();
        let mut latest = self.latest.lock();
        if !latest.0.is(&in_force) {
            let config = Arc::new(self.tls.client_config(&in_force)?);
            *latest = (in_force, config);
        }
        Ok(Arc::clone(&latest.1))
    }

    fn explain(&self, error: &io::Error) -> io::Error {
        io::Error::other(TlsError::of(error, self.tls.has_identity()))
    }
}

impl Tls {
    /// Whether the server at `endpoint` speaks TLS; asks it, for at most `limit`. For the error
    /// text of a program whose plain connection failed.
    pub async fn is_spoken_by(endpoint: &str, limit: Duration) -> bool {
        timeout(limit, speaks_tls(endpoint)).await.unwrap_or(false)
    }
}

async fn speaks_tls(endpoint: &str) -> bool {
    let Ok(address) = Address::parse(endpoint, true) else {
        return false;
    };
    let tls = Tls::new().without_verification();
    let config = tls.client_config(&tls.in_force());
    let (Ok(config), Ok(name)) = (config, tls.name_of(address.host())) else {
        return false;
    };
    let Ok(stream) = TcpStream::connect(&address.authority).await else {
        return false;
    };
    let connected = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    match connected {
        Ok(_) => true,
        Err(error) => {
            let failure = TlsError::of(&error, false).failure;
            !matches!(failure, TlsFailure::NotTls | TlsFailure::Handshake)
        }
    }
}

/// A connection whose first bytes were read already.
#[derive(Debug)]
struct Begun {
    head: [u8; FIRST_BYTES],
    unread: std::ops::Range<usize>,
    stream: TlsStream<TcpStream>,
}

impl AsyncRead for Begun {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let length = this.unread.len().min(buf.remaining());
        let from = this.unread.start;
        buf.put_slice(&this.head[from..from + length]);
        this.unread.start += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

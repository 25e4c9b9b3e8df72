//! How bytes reach other processes: the listener and connector, injected so that a simulation can
//! put its own network here.

use std::{fmt, io, net::SocketAddr, pin::Pin, time::Duration};

use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, lookup_host},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long a connection attempt to a peer may take; a peer that does not answer within this is
/// treated as down, and tried again.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A byte stream with whoever is at the other end.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The other end's address, when it has one.
    fn peer_addr(&self) -> Option<SocketAddr>;
}

impl Io for TcpStream {
    fn peer_addr(&self) -> Option<SocketAddr> {
        Self::peer_addr(self).ok()
    }
}

/// A boxed [`Io`] that tonic's server takes.
pub struct Connection(Box<dyn Io>);

impl Connection {
    /// Wraps a byte stream.
    pub fn new(io: impl Io) -> Self {
        Self(Box::new(io))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection")
            .field(&self.0.peer_addr())
            .finish()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        TcpConnectInfo {
            local_addr: None,
            remote_addr: self.0.peer_addr(),
        }
    }
}

macro_rules! delegate {
    ($self:ident) => {
        Pin::new(&mut *$self.get_mut().0)
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        delegate!(self).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        delegate!(self).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> std::task::Poll<io::Result<usize>> {
        delegate!(self).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        delegate!(self).poll_flush(cx)
    }

    fn poll_shutdown(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        delegate!(self).poll_shutdown(cx)
    }
}

/// Incoming connections of one listener.
pub type Incoming = BoxStream<'static, io::Result<Connection>>;

/// Opens listeners and connections.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Listens on `address`.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Incoming>>;

    /// Connects to `host:port`.
    fn connect(&self, authority: String) -> BoxFuture<'static, io::Result<Connection>>;
}

/// TCP through the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpTransport;

impl Transport for TcpTransport {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Incoming>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let stream = TcpListenerStream::new(listener).map(|accepted| {
                let stream = accepted?;
                stream.set_nodelay(true)?;
                Ok(Connection::new(stream))
            });
            Ok(accepted(stream))
        })
    }

    fn connect(&self, authority: String) -> BoxFuture<'static, io::Result<Connection>> {
        Box::pin(async move {
            let attempt = async {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "no address for the host");
                for address in lookup_host(authority).await? {
                    match TcpStream::connect(address).await {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            return Ok(Connection::new(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            };
            tokio::time::timeout(CONNECT_TIMEOUT, attempt)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }
}

/// A failed accept concerns one connection: it is left out, and the listener goes on.
fn accepted(stream: impl Stream<Item = io::Result<Connection>> + Send + 'static) -> Incoming {
    Box::pin(stream.filter_map(|accepted| async move {
        match accepted {
            Ok(connection) => Some(Ok(connection)),
            Err(error) => {
                tracing::debug!(%error, "a connection was lost while it was accepted");
                None
            }
        }
    }))
}

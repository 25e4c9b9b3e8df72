//! Listeners and connections to other processes, behind a trait, so that a simulation can
//! substitute its network.

mod accept;
mod dial;
mod fair;
mod handover;
mod local;
mod notices;
mod places;
mod secure;
mod turns;

use std::{
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use rustix::net::sockopt::set_tcp_user_timeout;
use tenure_tls::{Exit, Rewound};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};
use tokio_rustls::{client, server};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::Connected;

use crate::{config::Bind, flushes::Flushes, share::Share};

pub use tenure_tls::PeerIdentity;

pub use self::dial::{CONNECT_TIMEOUT, resolve};
pub(crate) use self::{
    accept::admitted,
    handover::{Handover, served},
    notices::Notices,
    places::Places,
    secure::{Gate, Handshakes, secured},
};
use self::{
    places::{Place, Standing},
    turns::Reading,
};

/// Time for an accepted connection to send the bytes that identify its protocol.
const OPENING_MAX: Duration = Duration::from_secs(10);
/// Those bytes: HTTP/2's preface, which is shorter than any request of a browser.
const OPENING_BYTES: usize = 24;

/// A byte stream to another process.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The address of the other end, if it has one.
    fn peer_addr(&self) -> Option<SocketAddr> {
        None
    }
}

impl Io for Box<dyn Io> {
    fn peer_addr(&self) -> Option<SocketAddr> {
        (**self).peer_addr()
    }
}

impl<S: Io> Io for Rewound<S> {}

impl<S: Io> Io for server::TlsStream<S> {}

impl<S: Io> Io for client::TlsStream<S> {}

impl Io for TcpStream {
    fn peer_addr(&self) -> Option<SocketAddr> {
        Self::peer_addr(self).ok()
    }
}

#[cfg(test)]
impl Io for tokio::io::DuplexStream {}

/// A boxed [`Io`] that tonic's server accepts.
pub struct Connection {
    io: Box<dyn Io>,
    /// The address of the other end, if it has one.
    peer: Option<SocketAddr>,
    /// What its certificate proves, if it showed one that was verified.
    identity: Option<Arc<PeerIdentity>>,
    flushes: Flushes,
    /// Set until the first [`OPENING_BYTES`] were received.
    opening: Option<Opening>,
    /// Its place in the bound on connections.
    place: Place,
    reading: Reading,
    share: Share,
}

/// The state of a connection that its calls share.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Reports when written bytes were flushed.
    pub(crate) flushes: Flushes,
    /// The address of the other end, if it has one.
    pub(crate) peer: Option<SocketAddr>,
    identity: Option<Arc<PeerIdentity>>,
    /// Bounds the memory and the concurrency of its calls.
    pub(crate) share: Share,
    /// Set on the port of members only.
    standing: Option<Standing>,
    /// Set on the ports of clients only.
    handover: Option<Handover>,
}

impl ConnectionInfo {
    /// What the certificate of the other end proves, if it showed one that was verified.
    #[must_use]
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.identity.as_deref()
    }

    /// Asks for the connection once HTTP has ended on it, where that is served.
    pub(crate) const fn handover(&self) -> Option<&Handover> {
        self.handover.as_ref()
    }

    /// Records that a call on the connection was admitted.
    pub(crate) fn admit(&self) {
        if let Some(standing) = &self.standing {
            standing.admit();
        }
    }
}

struct Opening {
    deadline: Pin<Box<Sleep>>,
    received: usize,
}

impl Connection {
    /// Wraps a byte stream.
    pub fn new(io: impl Io) -> Self {
        Self::boxed(Box::new(io))
    }

    fn boxed(io: Box<dyn Io>) -> Self {
        Self {
            peer: io.peer_addr(),
            identity: None,
            io,
            flushes: Flushes::default(),
            opening: None,
            place: Place::default(),
            reading: Reading::default(),
            share: Share::default(),
        }
    }

    /// Marks an accepted connection: it fails when its first bytes do not arrive in time, and it
    /// shares the turns of its port.
    fn opening(self, place: Place, reading: Reading) -> Self {
        Self {
            opening: Some(Opening {
                deadline: Box::pin(sleep(OPENING_MAX)),
                received: 0,
            }),
            place,
            reading,
            ..self
        }
    }

    /// Fails once the connection was evicted from its place, or closed.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.place.is_lost(cx) || self.share.is_closed() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    /// A connection whose client does not take what is written reads nothing until it does.
    fn wrote<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() {
            self.reading.pause();
        }
        written
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.peer).finish()
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        ConnectionInfo {
            flushes: self.flushes.clone(),
            peer: self.peer,
            identity: self.identity.clone(),
            share: self.share.clone(),
            standing: self.place.standing(),
            handover: None,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        if this.reading.poll_turn(cx).is_pending() {
            if this.share.poll_closed(cx) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut *this.io).poll_read(cx, buf);
        if read.is_pending() {
            this.reading.pause();
            if this.share.poll_closed(cx) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        if buf.filled().len() > before {
            this.reading.read(buf.filled().len() - before);
            this.place.heard();
        }
        let Some(opening) = &mut this.opening else {
            return read;
        };
        opening.received += buf.filled().len() - before;
        if opening.received >= OPENING_BYTES {
            this.opening = None;
        } else if opening.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let written = Pin::new(&mut *this.io).poll_write(cx, buf);
        this.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let written = Pin::new(&mut *this.io).poll_write_vectored(cx, bufs);
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let flushed = Pin::new(&mut *this.io).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.flushes.happened();
        }
        this.wrote(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_shutdown(cx)
    }
}

/// The connections that one listener accepts, and errors of accepting; see `admitted`.
pub type Incoming = BoxStream<'static, io::Result<Connection>>;

/// Opens listeners and connections.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Listens on `address`.
    fn listen(&self, address: Bind) -> BoxFuture<'static, io::Result<Incoming>>;

    /// Connects to the member at `url`, over TLS if that begins with https://.
    fn connect(&self, url: String) -> BoxFuture<'static, io::Result<Connection>>;
}

/// Milliseconds after which the system closes an accepted connection whose client takes none of the
/// sent data: longer than clients pause, as unread data holds memory that others could use.
const UNREAD_MAX_MS: u32 = 60_000;

/// TCP sockets of the operating system.
#[derive(Clone, Debug, Default)]
pub struct TcpTransport {
    /// What connections to other members must prove.
    pub exit: Exit,
}

impl Transport for TcpTransport {
    fn listen(&self, address: Bind) -> BoxFuture<'static, io::Result<Incoming>> {
        Box::pin(async move {
            let address = match address {
                Bind::Address(address) => address,
                Bind::File(path) => return local::listen(&path),
            };
            let listener = TcpListener::bind(address).await?;
            let streams = TcpListenerStream::new(listener);
            Ok(streams
                .map(|stream| accepted(stream?, UNREAD_MAX_MS))
                .boxed())
        })
    }

    fn connect(&self, url: String) -> BoxFuture<'static, io::Result<Connection>> {
        Box::pin(dial::dial(self.exit.clone(), url))
    }
}

fn accepted(stream: TcpStream, unread_max_ms: u32) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    set_tcp_user_timeout(&stream, unread_max_ms)?;
    Ok(Connection::new(stream))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::{Instant, timeout},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_say_what_it_speaks_ends() {
        let (mut client, server) = duplex(64);
        let mut server = Connection::new(server).opening(Place::default(), Reading::default());
        client.write_all(b"PRI * HTTP/2.0").await.expect("sent");
        let begin = Instant::now();
        let mut heard = Vec::new();
        let ended = server.read_to_end(&mut heard).await.expect_err("the end");
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= OPENING_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_said_it_may_be_silent() {
        let (mut client, server) = duplex(64);
        let mut server = Connection::new(server).opening(Place::default(), Reading::default());
        client
            .write_all(&[b'x'; OPENING_BYTES])
            .await
            .expect("sent");
        let mut heard = [0; OPENING_BYTES];
        server.read_exact(&mut heard).await.expect("heard");
        let silence = timeout(OPENING_MAX * 10, server.read(&mut heard));
        assert!(silence.await.is_err(), "it goes on");
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_ends_while_it_waits_to_read() {
        let (_client, server) = duplex(64);
        let mut server = Connection::new(server);
        let share = server.connect_info().share;
        let mut heard = [0; 1];
        let mut read = std::pin::pin!(server.read(&mut heard));
        assert!(futures::poll!(&mut read).is_pending());
        share.close();
        let ended = read.await.expect_err("the end");
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_connection_whose_client_takes_nothing_is_closed_by_the_system() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let _client = TcpStream::connect(address).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        let mut server = accepted(stream, 500).expect("options");
        let unread = async {
            loop {
                if let Err(error) = server.write_all(&[0; 64 * 1024]).await {
                    return error;
                }
            }
        };
        let end = timeout(Duration::from_secs(60), unread).await;
        assert_eq!(end.expect("an end").kind(), io::ErrorKind::TimedOut);
    }
}

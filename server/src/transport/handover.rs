//! Hands a connection over to a task once HTTP has ended on it, as after an upgrade of HTTP/1.1.
//!
//! The server drops a connection when it has written the response that ends HTTP on it. Instead of
//! closing it then, this gives it to the task that asked for it, with its place in the bound on
//! connections, its turns to be read, and its share.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};
use tonic::transport::server::Connected;

use super::{Connection, ConnectionInfo, Incoming};

/// Asks for a connection. Clones ask for the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<oneshot::Sender<Connection>>>>);

impl Handover {
    /// The connection, once HTTP has ended on it. The last one to ask gets it.
    pub(crate) fn request(&self) -> oneshot::Receiver<Connection> {
        let (sender, receiver) = oneshot::channel();
        *self.0.lock() = Some(sender);
        receiver
    }
}

/// A connection that is served with HTTP, and may be handed over.
pub(crate) struct Served {
    /// Set until it is dropped.
    connection: Option<Connection>,
    handover: Handover,
}

/// The connections of `incoming`, which may be handed over.
pub(crate) fn served(
    incoming: Incoming,
) -> impl futures::Stream<Item = io::Result<Served>> + Send + Unpin {
    incoming.map(|connection| connection.map(Served::new))
}

impl Served {
    fn new(connection: Connection) -> Self {
        Self {
            connection: Some(connection),
            handover: Handover::default(),
        }
    }

    fn connection(self: Pin<&mut Self>) -> Pin<&mut Connection> {
        let connection = self.get_mut().connection.as_mut();
        Pin::new(connection.expect("invariant: it is set until this is dropped"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let asked = self.handover.0.lock().take();
        if let Some((to, connection)) = asked.zip(self.connection.take()) {
            // A task that is gone wants none; the connection is closed.
            drop(to.send(connection));
        }
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Served").field(&self.connection).finish()
    }
}

impl Connected for Served {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        let connection = self.connection.as_ref();
        let connection = connection.expect("invariant: it is set until this is dropped");
        ConnectionInfo {
            handover: Some(self.handover.clone()),
            ..connection.connect_info()
        }
    }
}

impl AsyncRead for Served {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection().poll_read(cx, buf)
    }
}

impl AsyncWrite for Served {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_was_asked_for_stays_open_and_another_is_closed() {
        let (mut client, server) = duplex(64);
        let served = Served::new(Connection::new(server));
        let handover = served.connect_info().handover.expect("of a client");
        let asked = handover.request();
        drop(served);
        let mut connection = asked.await.expect("it is handed over");
        connection.write_all(b"x").await.unwrap();
        let mut heard = [0];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"x");

        let (mut client, server) = duplex(64);
        drop(Served::new(Connection::new(server)));
        assert_eq!(client.read(&mut heard).await.unwrap(), 0, "it is closed");
    }
}

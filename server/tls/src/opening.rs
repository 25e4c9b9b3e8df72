//! The first bytes of a connection, which tell what it speaks, and a stream that reads them twice.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Bytes that are read at most to tell what a connection speaks; the first one suffices, the rest
/// tells a request of HTTP/1 from HTTP/2's preface.
const OPENING_BYTES_MAX: usize = 8;

/// Type of the record that begins every handshake of TLS.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// TLS.
    Tls,
    /// The exchange by which members prove that they know the cluster's secret.
    Secret,
    /// A request of HTTP/1 in plain text.
    Http1,
    /// Anything else, such as HTTP/2 in plain text.
    Other,
}

impl Opening {
    /// The kind of a connection that begins with these bytes, of which there is at least one.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match bytes.first() {
            Some(&TLS_HANDSHAKE) => Self::Tls,
            Some(&crate::secret::FIRST_BYTE) => Self::Secret,
            Some(byte) if byte.is_ascii_uppercase() && !bytes.starts_with(b"PRI") => Self::Http1,
            _ => Self::Other,
        }
    }
}

/// A stream whose first bytes can be looked at before they are read.
#[derive(Debug)]
pub struct Rewound<S> {
    head: [u8; OPENING_BYTES_MAX],
    /// The unread part of the head.
    unread: std::ops::Range<usize>,
    stream: S,
}

impl<S> Rewound<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self {
            head: [0; OPENING_BYTES_MAX],
            unread: 0..0,
            stream,
        }
    }
}

impl<S: AsyncRead + Unpin> Rewound<S> {
    /// Waits for the first bytes, and returns what arrived of them; nothing at the end.
    ///
    /// # Cancel safety
    /// Cancel safe: bytes that arrived are read again.
    pub(crate) async fn peek(&mut self) -> io::Result<&[u8]> {
        if self.unread.is_empty() {
            let length = self.stream.read(&mut self.head).await?;
            self.unread = 0..length;
        }
        Ok(&self.head[self.unread.clone()])
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[test]
    fn the_first_bytes_tell_what_a_connection_speaks() {
        for (bytes, opening) in [
            (&b"\x16\x03\x01\x02"[..], Opening::Tls),
            (b"\0tenure\x01", Opening::Secret),
            (b"GET / HT", Opening::Http1),
            (b"P", Opening::Http1),
            (b"POST /v3", Opening::Http1),
            (b"PRI * HT", Opening::Other),
            (b"\x80", Opening::Other),
        ] {
            assert_eq!(Opening::of(bytes), opening, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn bytes_that_were_looked_at_are_read_again() {
        let (mut client, server) = duplex(64);
        let mut server = Rewound::new(server);
        client.write_all(b"hello world").await.unwrap();
        let looked = server.peek().await.unwrap().to_vec();
        assert_eq!(server.peek().await.unwrap(), looked);
        let mut small = [0; 3];
        server.read_exact(&mut small).await.unwrap();
        let mut rest = [0; 8];
        server.read_exact(&mut rest).await.unwrap();
        assert_eq!((&small, &rest), (b"hel", b"lo world"));
    }
}

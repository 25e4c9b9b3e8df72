//! A connection to another member that counts its bytes.
//!
//! Passes the bytes through unchanged. Invariant: the connection counts as active until it is
//! dropped.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{metrics::PeerMetrics, transport::Connection};

/// A connection and the metrics of the member at its other end.
#[derive(Debug)]
pub(super) struct Counted {
    inner: Connection,
    peer: Option<PeerMetrics>,
}

impl Counted {
    pub(super) fn new(inner: Connection, peer: Option<PeerMetrics>) -> Self {
        if let Some(peer) = &peer {
            peer.active.inc();
        }
        Self { inner, peer }
    }

    fn wrote(&self, written: usize) -> Poll<io::Result<usize>> {
        if let Some(peer) = &self.peer {
            peer.sent_bytes.inc_by(written as u64);
        }
        Poll::Ready(Ok(written))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(peer) = &self.peer {
            peer.active.dec();
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        if let Some(peer) = &self.peer {
            peer.received_bytes.inc_by(read as u64);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, slices))?;
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

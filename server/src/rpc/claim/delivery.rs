//! Delivery of a grant to the caller.
//!
//! Invariant: claims without a request id are released when the response with their grant does not
//! leave this node. A response that left counts as delivered: this node cannot know that it
//! arrived.

use super::acquire::Granted;
use crate::{flushes::Flushed, transport::ConnectionInfo};

/// Claims whose grant is being sent. Dropping it withdraws them, unless the response has left.
#[derive(Debug)]
pub(in crate::rpc) struct Delivery {
    claims: Option<Granted>,
    /// `None` when the connection does not count flushes; the response then counts as delivered
    /// when it is handed over.
    flushed: Option<Flushed>,
}

impl Delivery {
    /// Must be called before the response is handed to the connection.
    pub(in crate::rpc) fn begin(claims: Granted, connection: Option<&ConnectionInfo>) -> Self {
        // Claims that stay although their caller is gone need no watch.
        let watched = connection.filter(|_| claims.is_withdrawn_unless_delivered());
        Self {
            claims: Some(claims),
            flushed: watched.map(|connection| connection.flushes.next()),
        }
    }

    /// Waits until the response has left.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the claims, unless the response has left.
    pub(in crate::rpc) async fn finish(mut self) {
        let left = match &mut self.flushed {
            Some(flushed) => flushed.wait().await,
            None => true,
        };
        self.flushed = None;
        if let Some(claims) = self.claims.take()
            && left
        {
            claims.delivered();
        }
    }
}

/// Yields until the connection has read its input and its server has polled for resets, so that a
/// cancelled unary call is dropped here, before its response.
///
/// # Cancel safety
/// Nothing is lost when the future is dropped.
pub(in crate::rpc) async fn notice_cancellation() {
    // The first yield lets the connection read the reset of the call. Its server polls for resets
    // when a call is not ready, which the second yield makes it once more.
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let Some(claims) = self.claims.take() else {
            return;
        };
        let left = self.flushed.as_mut().is_none_or(Flushed::already);
        if left {
            claims.delivered();
        }
    }
}

#[cfg(test)]
mod tests;

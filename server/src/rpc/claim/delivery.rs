//! An answer that tells of a grant, on its way to the caller.
//!
//! Invariant: claims without a request id whose answer did not leave this node are given back. An
//! answer that left counts as told: whether it arrived cannot be known here.

use super::acquire::Granted;
use crate::{flushes::Flushed, transport::ConnectionInfo};

/// Claims whose grant is being told. Dropping it withdraws them, unless the answer has left.
#[derive(Debug)]
pub(in crate::rpc) struct Delivery {
    claims: Option<Granted>,
    /// None when the connection does not say; then what was handed to it counts as told.
    flushed: Option<Flushed>,
}

impl Delivery {
    /// Begins before the answer is handed to the connection.
    pub(in crate::rpc) fn begin(claims: Granted, connection: Option<&ConnectionInfo>) -> Self {
        // Claims that stay whatever becomes of their caller need not be watched.
        let watched = connection.filter(|_| claims.is_withdrawn_unless_told());
        Self {
            claims: Some(claims),
            flushed: watched.map(|connection| connection.flushes.next()),
        }
    }

    /// Waits until the answer has left.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the claims, unless the answer has left.
    pub(in crate::rpc) async fn finish(mut self) {
        let left = match &mut self.flushed {
            Some(flushed) => flushed.wait().await,
            None => true,
        };
        self.flushed = None;
        if let Some(claims) = self.claims.take()
            && left
        {
            claims.told();
        }
    }
}

/// Gives up the thread until the connection has read what came on it, and its server has looked
/// whether the caller is still there. A unary call that is dropped in here was not answered.
///
/// # Cancel safety
/// Nothing is lost when the future is dropped.
pub(in crate::rpc) async fn last_look() {
    // In the first the network is looked at, and the reset of the call is read. The server of the
    // connection asks for resets when a call is not ready, which the second makes it once more.
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
            claims.told();
        }
    }
}

#[cfg(test)]
mod tests;

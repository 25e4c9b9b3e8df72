//! Notices unary calls that take long, and says which method it was. Never what was asked.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::warn;

use super::grpc::MethodMetrics;

/// Watches over one call until it is dropped: when there is an answer, or when the client left
/// before there was one.
#[derive(Debug)]
pub(super) struct SlowCall {
    method: Arc<MethodMetrics>,
    began: Instant,
    expected: Duration,
}

impl SlowCall {
    /// Begins with a call; `None` for one that may take as long as its client likes.
    pub(super) fn begin(method: &Arc<MethodMetrics>, expected: Duration) -> Option<Self> {
        method.is_answered_soon().then(|| Self {
            method: Arc::clone(method),
            began: Instant::now(),
            expected,
        })
    }
}

impl Drop for SlowCall {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        if took > self.expected {
            let (method, expected) = (self.method.path(), self.expected);
            warn!(method, ?took, ?expected, "request stats");
        }
    }
}

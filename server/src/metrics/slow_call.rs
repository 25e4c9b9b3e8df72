//! Warnings of slow unary calls, with the method's path but never the content of the request.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::warn;

use super::grpc::MethodMetrics;

/// Measures one call until it is dropped: when the response begins, or when the client disconnects
/// before.
#[derive(Debug)]
pub(super) struct SlowCall {
    method: Arc<MethodMetrics>,
    began: Instant,
    expected: Duration,
}

impl SlowCall {
    /// Begins with a call; `None` for a method whose calls may take any time.
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

//! HTTP pages beside gRPC: health, readiness, versions and metrics, in etcd's formats.
//!
//! The pages are read-only. Paths, texts and status codes are etcd's, because probes, load
//! balancers and dashboards compare them.

mod checks;
mod health;
mod pages;
mod vars;
mod version;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, extract::State, response::Response, routing::any};

pub use self::{checks::readiness, health::Alarm};
use crate::metrics::{CONTENT_TYPE, Metrics};

/// Deadline of a probe's read: etcd's own limit for a request with its default timeouts.
const READ_TIMEOUT: Duration = Duration::from_secs(7);

/// The result of a probe's read; the error is the text for the page.
pub type ProbeFuture<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// The state that the pages report.
pub trait Health: Send + Sync + 'static {
    /// Whether a leader is known.
    fn has_leader(&self) -> bool;
    /// Whether this member is a learner.
    fn is_learner(&self) -> bool;
    /// The raised alarms of all members.
    fn alarms(&self) -> Vec<Alarm>;
    /// Fails with the reason when the disk of the log does not complete writes.
    fn disk(&self) -> Result<(), String>;
    /// The API version of the whole cluster, such as `3.6.0`, once it is decided.
    fn cluster_version(&self) -> Option<String>;
    /// Reads one key with confirmation by a quorum.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time.
    fn linearizable_read(&self) -> ProbeFuture<'_>;
    /// Reads one key from this member alone.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time.
    fn serializable_read(&self) -> ProbeFuture<'_>;
}

/// The state shared by all pages.
#[derive(Clone)]
struct Pages {
    health: Arc<dyn Health>,
    metrics: Arc<Metrics>,
}

impl Pages {
    /// Makes one read with its deadline.
    async fn read(&self, linearizable: bool) -> Result<(), String> {
        read(&*self.health, linearizable).await
    }
}

/// Makes one read with its deadline.
async fn read(health: &dyn Health, linearizable: bool) -> Result<(), String> {
    let read = if linearizable {
        health.linearizable_read()
    } else {
        health.serializable_read()
    };
    match tokio::time::timeout(READ_TIMEOUT, read).await {
        Ok(outcome) => outcome,
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}

/// Builds the pages, for the client port beside gRPC and for the metrics listeners.
///
/// Answers every other path with 404, so merge it last.
pub fn router(health: Arc<dyn Health>, metrics: Arc<Metrics>) -> Router {
    let mut router = Router::new()
        .route("/health", any(health::page))
        .route("/version", any(version::page))
        .route("/metrics", any(metrics_page))
        .route("/debug/vars", any(vars::page));
    for check in checks::PAGES {
        router = router.route(
            check.path(),
            any(move |state, request| check.page(state, request)),
        );
        for name in check.names() {
            let path = format!("{}/{name}", check.path());
            router = router.route(
                &path,
                any(move |state, request| check.one(name, state, request)),
            );
        }
    }
    router
        .fallback(pages::not_found)
        .with_state(Pages { health, metrics })
}

async fn metrics_page(State(pages): State<Pages>) -> Response {
    pages::text(CONTENT_TYPE, pages.metrics.render())
}

#[cfg(test)]
mod tests;

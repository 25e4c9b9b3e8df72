//! The HTTP pages beside gRPC: health, readiness, versions and metrics, in etcd's shapes.
//!
//! They tell and never change anything. Paths, texts and status codes are etcd's, because probes,
//! load balancers and dashboards compare them.

mod checks;
mod health;
mod pages;
mod version;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, extract::State, response::Response, routing::any};

pub use self::health::Alarm;
use crate::metrics::{CONTENT_TYPE, Metrics};

/// How long a probe waits for a read: etcd's own limit for a request with its default timeouts.
const READ_TIMEOUT: Duration = Duration::from_secs(7);

/// The outcome of a probing read; the error is what the page says.
pub type ProbeFuture<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// What the pages ask of the server.
pub trait Health: Send + Sync + 'static {
    /// Whether a leader is known.
    fn has_leader(&self) -> bool;
    /// Whether this member is a learner.
    fn is_learner(&self) -> bool;
    /// The alarms that are raised, anywhere in the cluster.
    fn alarms(&self) -> Vec<Alarm>;
    /// What is wrong with the disk of the log, if anything is.
    fn disk(&self) -> Result<(), String>;
    /// The version of the API the whole cluster serves, such as `3.6.0`, once it is decided.
    fn cluster_version(&self) -> Option<String>;
    /// Reads one key with the agreement of a quorum.
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

/// What every page may use.
#[derive(Clone)]
struct Pages {
    health: Arc<dyn Health>,
    metrics: Arc<Metrics>,
}

impl Pages {
    /// One read with its deadline.
    async fn read(&self, linearizable: bool) -> Result<(), String> {
        let read = if linearizable {
            self.health.linearizable_read()
        } else {
            self.health.serializable_read()
        };
        match tokio::time::timeout(READ_TIMEOUT, read).await {
            Ok(outcome) => outcome,
            Err(_) => Err("context deadline exceeded".to_owned()),
        }
    }
}

/// The pages, to be served on the client port beside gRPC and on the metrics listeners.
///
/// Every other path answers 404, so merge it last.
pub fn router(health: Arc<dyn Health>, metrics: Arc<Metrics>) -> Router {
    let mut router = Router::new()
        .route("/health", any(health::page))
        .route("/version", any(version::page))
        .route("/metrics", any(metrics_page));
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

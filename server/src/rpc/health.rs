//! `grpc.health.v1`: serving until the node stops.

use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
};

use crate::tasks;

/// The service name that stands for the whole node.
const WHOLE_NODE: &str = "";

/// The service; it reports "not serving" once `stopping` is cancelled.
pub(super) fn service(stopping: CancellationToken) -> HealthServer<impl Health> {
    let (reporter, service) = tonic_health::server::health_reporter();
    tasks::spawn("health", async move {
        reporter
            .set_service_status(WHOLE_NODE, ServingStatus::Serving)
            .await;
        stopping.cancelled().await;
        reporter
            .set_service_status(WHOLE_NODE, ServingStatus::NotServing)
            .await;
    });
    service
}

//! `/version`: the API versions of this member, its cluster and its storage.

use axum::{extract::State, http::Method, response::Response};
use serde::Serialize;
use tenure_proto::API_VERSION;

use super::{Pages, pages};

#[derive(Serialize)]
struct Versions<'a> {
    etcdserver: &'a str,
    etcdcluster: &'a str,
    storage: &'a str,
}

pub(super) async fn page(State(state): State<Pages>, method: Method) -> Response {
    if let Some(refusal) = pages::refuse_all_but_get(&method) {
        return refusal;
    }
    let cluster = state.health.cluster_version();
    let versions = Versions {
        etcdserver: API_VERSION,
        etcdcluster: cluster.as_deref().unwrap_or("not_decided"),
        storage: cluster.as_deref().unwrap_or("unknown"),
    };
    let json = serde_json::to_string(&versions).expect("invariant: texts are always JSON");
    pages::text("application/json", json)
}

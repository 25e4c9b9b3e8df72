//! `/health`: whether this member and its cluster are healthy, and the reason when they are not.

use axum::{
    extract::{Query, State},
    http::{Method, StatusCode},
    response::Response,
};
use serde::Serialize;

use super::{Pages, pages};

/// A raised alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The space quota of a member is exhausted.
    NoSpace,
    /// The data of a member differs from the others'.
    Corrupt,
}

impl Alarm {
    /// Its name on the wire.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NoSpace => "NOSPACE",
            Self::Corrupt => "CORRUPT",
        }
    }
}

/// The parameters of a query, in order; one without `=` has an empty value.
pub(super) type QueryPairs = Query<Vec<(String, String)>>;

/// The non-empty values of every parameter with this name.
pub(super) fn values<'a>(
    query: &'a QueryPairs,
    name: &'a str,
) -> impl Iterator<Item = &'a str> + 'a {
    let named = query.0.iter().filter(move |(key, _)| key == name);
    named
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

#[derive(Serialize)]
struct Answer<'a> {
    health: &'a str,
    reason: &'a str,
}

pub(super) async fn page(
    State(state): State<Pages>,
    method: Method,
    query: QueryPairs,
) -> Response {
    if let Some(refusal) = pages::refuse_all_but_get(&method) {
        return refusal;
    }
    // As in etcd, the first of repeated parameters counts.
    let serializable = query.0.iter().find(|(key, _)| key == "serializable");
    let serializable = serializable.is_some_and(|(_, value)| value == "true");
    let verdict = judge(&state, &query, serializable).await;
    let (health, reason) = match &verdict {
        Ok(()) => ("true", ""),
        Err(reason) => ("false", reason.as_str()),
    };
    let json = serde_json::to_string(&Answer { health, reason })
        .expect("invariant: two texts are always JSON");
    match verdict {
        Ok(()) => {
            state.metrics.health.success.inc();
            pages::text(pages::PLAIN, json)
        }
        Err(reason) => {
            state.metrics.health.failures.inc();
            tracing::warn!(%reason, "health check failed");
            pages::error(StatusCode::SERVICE_UNAVAILABLE, &json)
        }
    }
}

async fn judge(state: &Pages, query: &QueryPairs, serializable: bool) -> Result<(), String> {
    let excluded = |alarm: &Alarm| values(query, "exclude").any(|name| name == alarm.name());
    if let Some(alarm) = state.health.alarms().iter().find(|alarm| !excluded(alarm)) {
        return Err(format!("ALARM {}", alarm.name()));
    }
    if !serializable && !state.health.has_leader() {
        return Err("RAFT NO LEADER".to_owned());
    }
    state
        .read(!serializable)
        .await
        .map_err(|error| format!("RANGE ERROR:{error}"))
}

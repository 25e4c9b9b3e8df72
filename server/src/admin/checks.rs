//! `/livez` and `/readyz`: named checks, together or one by one.
//!
//! A live member can read its own state; a ready one also reaches its quorum, and its disk
//! completes writes. The disk check is not etcd's, and is listed only when it fails.

use std::time::Duration;

use axum::{
    extract::{Query, Request, State},
    http::{Method, StatusCode},
    response::Response,
};

use super::{
    Health, Pages,
    health::{Alarm, QueryPairs, values},
    pages, read,
};

/// Path of the readiness page.
const READY: &str = "/readyz";
/// Name of the check that writes to the log complete.
const DISK: &str = "disk";
/// The checks of readiness, without that of the disk.
const READY_CHECKS: &[&str] = &[
    "data_corruption",
    "serializable_read",
    "linearizable_read",
    "non_learner",
];
/// Time between two checks of the disk while other checks run.
const DISK_LOOK: Duration = Duration::from_millis(100);

/// Both pages, with the checks that each runs.
pub(super) const PAGES: [&Page; 2] = [
    &Page {
        path: "/livez",
        names: &["serializable_read"],
    },
    &Page {
        path: READY,
        names: READY_CHECKS,
    },
];

/// A page of checks.
#[derive(Debug)]
pub(super) struct Page {
    path: &'static str,
    names: &'static [&'static str],
}

impl Page {
    pub(super) const fn path(&self) -> &'static str {
        self.path
    }

    pub(super) const fn names(&self) -> &'static [&'static str] {
        self.names
    }

    /// Runs every check that is not excluded. Ignores unknown names in `exclude`, so that one probe
    /// serves members of several versions.
    pub(super) async fn page(&self, State(state): State<Pages>, request: Request) -> Response {
        let query = query_of(&request);
        let excluded = |name: &&&str| !values(&query, "exclude").any(|other| other == **name);
        let names: Vec<&str> = self.names.iter().filter(excluded).copied().collect();
        // A read would wait for a disk that hangs, and the probe for the read. Cancel-safe: both
        // arms only read.
        tokio::select! {
            biased;
            disk = self.disk_failure(&state, &query) => {
                self.run(&[disk], &state, request.method(), &query).await
            }
            answer = self.run(&names, &state, request.method(), &query) => answer,
        }
    }

    /// Resolves when the disk check fails.
    async fn disk_failure(&self, state: &Pages, query: &QueryPairs) -> &'static str {
        loop {
            if let Some(disk) = self.disk_fails(state, query) {
                return disk;
            }
            tokio::time::sleep(DISK_LOOK).await;
        }
    }

    /// Returns the disk check, which etcd does not have, if it fails.
    fn disk_fails(&self, state: &Pages, query: &QueryPairs) -> Option<&'static str> {
        let excluded = values(query, "exclude").any(|name| name == DISK);
        (self.path == READY && !excluded && state.health.disk().is_err()).then_some(DISK)
    }

    /// Runs one check.
    pub(super) async fn one(
        &self,
        name: &'static str,
        State(state): State<Pages>,
        request: Request,
    ) -> Response {
        self.run(&[name], &state, request.method(), &query_of(&request))
            .await
    }

    async fn run(
        &self,
        names: &[&str],
        state: &Pages,
        method: &Method,
        query: &QueryPairs,
    ) -> Response {
        if let Some(refusal) = pages::refuse_all_but_get(method) {
            return refusal;
        }
        let mut report = String::new();
        let mut passed = true;
        for name in names {
            let outcome = check(name, &*state.health).await;
            let kind = self.path.trim_start_matches('/');
            state.metrics.health.checked(kind, name, outcome.is_ok());
            match outcome {
                Ok(()) => report.push_str(&format!("[+]{name} ok\n")),
                Err(error) => {
                    passed = false;
                    report.push_str(&format!("[-]{name} failed: {error}\n"));
                }
            }
        }
        if !passed {
            tracing::warn!(page = self.path, report, "health check failed");
            return pages::error(StatusCode::SERVICE_UNAVAILABLE, &report);
        }
        let verbose = query.0.iter().any(|(name, _)| name == "verbose");
        pages::plain(if verbose {
            report + "ok\n"
        } else {
            "ok\n".to_owned()
        })
    }
}

/// The query of a request; a malformed one counts as empty.
fn query_of(request: &Request) -> QueryPairs {
    Query::try_from_uri(request.uri()).unwrap_or_else(|_| Query(Vec::new()))
}

/// Whether `/readyz` would answer that the member is ready; the error names the check that fails.
///
/// # Errors
/// The first check that fails, and the reason.
///
/// # Cancel safety
/// May be dropped at any time.
pub async fn readiness(health: &dyn Health) -> Result<(), String> {
    for name in [DISK].iter().chain(READY_CHECKS) {
        let outcome = check(name, health).await;
        outcome.map_err(|reason| format!("{name}: {reason}"))?;
    }
    Ok(())
}

async fn check(name: &str, health: &dyn Health) -> Result<(), String> {
    match name {
        "data_corruption" if health.alarms().contains(&Alarm::Corrupt) => {
            Err("alarm activated: CORRUPT".to_owned())
        }
        "non_learner" if health.is_learner() => Err("not supported for learner".to_owned()),
        DISK => health.disk(),
        "serializable_read" => read(health, false).await,
        "linearizable_read" => read(health, true).await,
        _ => Ok(()),
    }
}

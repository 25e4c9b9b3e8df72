//! Watches the quota of this node: writes that other members admit can exceed it when theirs are
//! larger.
//!
//! A node that admits a write checks its own quota; see `rpc::Services`. Invariant: when the
//! applied state exceeds the quota, the alarm of this member is raised as soon as there is a
//! leader.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::Revision;

use crate::{rpc::Services, tasks};

/// Time between two checks: few other writes follow one that exceeds the quota, and the cost of a
/// check is not noticeable to requests.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts the task; it ends with the services.
pub(super) fn spawn(services: Arc<Services>) {
    tasks::spawn("quota", async move {
        let mut seen = Revision::EMPTY;
        while let Some(revision) = services.next_write(seen).await {
            seen = revision;
            services.watch_quota().await;
            tokio::time::sleep(PAUSE).await;
        }
    });
}

//! Watches this node's own quota: one that is smaller than the others' is exceeded by what they
//! admit.
//!
//! A node that admits a write looks at its quota itself; see `rpc::Services`. Invariant: when what
//! is applied here exceeds the quota, the alarm of this member is raised, as soon as there is a
//! leader.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::Revision;

use crate::{rpc::Services, tasks};

/// Time between two looks: a write that exceeds the quota is followed by few others, and the look
/// costs nothing that a request would notice.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts to watch; ends with the services.
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

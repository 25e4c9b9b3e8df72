//! Takes back a claim that nobody waits for any more.
//!
//! Invariant: a claim that was proposed without a request id is either told to its caller or
//! withdrawn, unless the quorum cannot be had; then it ends with its lease.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tenure_statemachine::{ClaimCommand, Command, LeaseId};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};
use tracing::debug;

use super::{backend::Backend, services::Services};
use crate::tasks;

/// Time between tries: about an election's share, so that a few go into a change of leader.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Withdraws claims when it is dropped.
pub(super) struct Withdraw {
    services: Arc<Services>,
    names: Vec<Bytes>,
    lease: LeaseId,
}

impl Withdraw {
    /// Will withdraw the claims of `lease` on `names`.
    pub(super) fn new(services: Arc<Services>, names: Vec<Bytes>, lease: LeaseId) -> Self {
        Self {
            services,
            names,
            lease,
        }
    }

    /// Leaves the claims as they are.
    pub(super) fn forgo(mut self) {
        self.names.clear();
    }
}

impl Drop for Withdraw {
    fn drop(&mut self) {
        // Without a runtime the node is gone, and nothing could be proposed.
        if self.names.is_empty() || Handle::try_current().is_err() {
            return;
        }
        let names = std::mem::take(&mut self.names);
        let services = Arc::clone(&self.services);
        let lease = self.lease;
        // At once, so that the caller's next request finds it under way.
        let under_way = services.claims.withdrawal(&names, lease);
        let backend = Arc::clone(&services.backend);
        let until = Instant::now() + services.limits.request_timeout;
        tasks::spawn("withdraw", async move {
            let _under_way = under_way;
            for name in names {
                withdraw(backend.as_ref(), name, lease, until).await;
            }
        });
    }
}

impl fmt::Debug for Withdraw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Withdraw")
            .field("names", &self.names)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Withdrawing twice does no harm, so a try whose outcome is unknown is made again.
async fn withdraw(backend: &dyn Backend, name: Bytes, lease: LeaseId, until: Instant) {
    loop {
        let name = name.clone();
        let command = Command::Claim(ClaimCommand::Withdraw { name, lease });
        let Err(error) = backend.propose(command).await else {
            return;
        };
        if Instant::now() >= until {
            debug!(%error, %lease, "a claim was not withdrawn, it ends with its lease");
            return;
        }
        sleep(RETRY_PAUSE).await;
    }
}

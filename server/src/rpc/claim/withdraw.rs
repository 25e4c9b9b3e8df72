//! Takes back a claim that nobody waits for any more, and the lease that was made for it.
//!
//! Invariant: a claim that was proposed without a request id is either told to its caller as held
//! or withdrawn, unless the quorum cannot be had; then it ends with its lease.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tenure_statemachine::{self as machine, Acquire, Command, LeaseId};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};
use tracing::debug;

use crate::{node::Replica, rpc::services::Services, tasks};

/// Time between tries: about an election's share, so that a few go into a change of leader.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Withdraws claims when it is dropped.
pub(in crate::rpc) struct Withdraw {
    services: Arc<Services>,
    names: Vec<Bytes>,
    lease: LeaseId,
    /// The call that made them: what the lease was given by others stays.
    call: u64,
    /// The lease was made with the claims: it ends with them, for nobody else knows it.
    is_made: bool,
}

impl Withdraw {
    /// Will withdraw what `acquire` claims, and its lease too if it makes one.
    pub(in crate::rpc) fn of(services: Arc<Services>, acquire: &Acquire) -> Self {
        Self {
            services,
            names: acquire.names.clone(),
            lease: acquire.lease,
            call: acquire.call,
            is_made: acquire.grant.is_some(),
        }
    }

    /// One of the claims is gone: if it was the only one there is nothing to withdraw but the
    /// lease that was made for it.
    pub(in crate::rpc) fn ended(mut self) {
        if self.names.len() == 1 && !self.is_made {
            self.names.clear();
        }
    }

    /// Leaves the claims as they are.
    pub(in crate::rpc) fn forgo(mut self) {
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
        let (call, is_made) = (self.call, self.is_made);
        // At once, so that the caller's next request finds it under way.
        let under_way = services.claims.withdrawal(&names, lease);
        let replica = Arc::clone(&services.replica);
        let until = Instant::now() + services.limits.request_timeout;
        tasks::spawn("withdraw", async move {
            let _under_way = under_way;
            if is_made {
                withdraw(replica.as_ref(), Command::LeaseRevoke(lease), until).await;
                return;
            }
            for name in names {
                let claim = machine::Withdraw { name, lease, call };
                withdraw(replica.as_ref(), claim.into(), until).await;
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
async fn withdraw(replica: &dyn Replica, command: Command, until: Instant) {
    loop {
        let Err(error) = replica.propose(command.clone()).await else {
            return;
        };
        if Instant::now() >= until {
            debug!(%error, ?command, "a claim was not withdrawn, it ends with its lease");
            return;
        }
        sleep(RETRY_PAUSE).await;
    }
}

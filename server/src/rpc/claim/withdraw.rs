//! Withdraws claims whose caller is gone, and the lease that was granted with them.
//!
//! Invariant: a claim that was proposed without a request id is either delivered to its caller as
//! granted or withdrawn, unless no attempt succeeds for a long time; then it ends with its lease.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tenure_statemachine::{self as machine, Acquire, Command, LeaseId};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};
use tracing::debug;

use crate::{
    node::Replica,
    rpc::{admission::Allowed, services::Services},
    tasks,
};

/// The first pause between attempts: a fraction of an election timeout, so that a change of leader
/// takes a few of them.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause, to which the first one doubles: thousands may be withdrawn at once, and a
/// busy node is to be sent them more slowly.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long it is tried, in request timeouts, of which one attempt may take a whole: more than a
/// minute, when most leases have ended.
const TIMEOUTS_MAX: u32 = 10;

/// Withdraws claims when it is dropped.
pub(in crate::rpc) struct WithdrawOnDrop {
    services: Arc<Services>,
    names: Vec<Bytes>,
    lease: LeaseId,
    /// The call that made the claims: claims of the lease by other calls stay.
    call: u64,
    /// Whether the lease was granted with the claims: no other caller knows it, so it is revoked.
    is_granted: bool,
}

impl WithdrawOnDrop {
    /// Withdraws the claims of `acquire`, and revokes its lease if it grants one.
    pub(in crate::rpc) fn new(services: Arc<Services>, acquire: &Acquire) -> Self {
        Self {
            services,
            names: acquire.names.clone(),
            lease: acquire.lease,
            call: acquire.call,
            is_granted: acquire.grant.is_some(),
        }
    }

    /// Withdraws claims, whichever call made them, and leaves their lease.
    pub(in crate::rpc) const fn of_any_call(
        services: Arc<Services>,
        names: Vec<Bytes>,
        lease: LeaseId,
    ) -> Self {
        Self {
            services,
            names,
            lease,
            call: 0,
            is_granted: false,
        }
    }

    /// One of the claims ended: if it was the only one, only the lease that was granted with it is
    /// left to revoke.
    pub(in crate::rpc) fn drop_after_end(mut self) {
        if self.names.len() == 1 && !self.is_granted {
            self.names.clear();
        }
    }

    /// Keeps the claims.
    pub(in crate::rpc) fn disarm(mut self) {
        self.names.clear();
    }
}

impl Drop for WithdrawOnDrop {
    fn drop(&mut self) {
        // Without a runtime the node is gone, and no command can be proposed.
        if self.names.is_empty() || Handle::try_current().is_err() {
            return;
        }
        let names = std::mem::take(&mut self.names);
        let services = Arc::clone(&self.services);
        let lease = self.lease;
        let (call, is_granted) = (self.call, self.is_granted);
        // Before the task runs, so that the caller's next request waits for the withdrawal.
        let under_way = services.claims.withdrawal(&names, lease);
        let replica = Arc::clone(&services.replica);
        let until = Instant::now() + services.limits.request_timeout * TIMEOUTS_MAX;
        tasks::spawn("withdraw", async move {
            let _under_way = under_way;
            if is_granted {
                let revoke = Allowed::of_system(Command::LeaseRevoke(lease));
                withdraw(replica.as_ref(), revoke, until).await;
                return;
            }
            for name in names {
                let claim = machine::Withdraw { name, lease, call };
                let claim = Allowed::of_system(claim.into());
                withdraw(replica.as_ref(), claim, until).await;
            }
        });
    }
}

impl fmt::Debug for WithdrawOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithdrawOnDrop")
            .field("names", &self.names)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Proposes the command until it is applied or `until` is over. A withdrawal is idempotent, so an
/// attempt whose outcome is unknown is repeated.
async fn withdraw(replica: &dyn Replica, allowed: Allowed, until: Instant) {
    let command = allowed.into_command();
    let mut pause = RETRY_PAUSE;
    loop {
        let Err(error) = replica.propose(command.clone()).await else {
            return;
        };
        if Instant::now() >= until {
            debug!(%error, ?command, "a claim was not withdrawn, it ends with its lease");
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}

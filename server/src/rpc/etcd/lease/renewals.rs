//! Batches renewals: those of one user that arrive together are replicated as one command.
//!
//! The first renewal after an idle time is proposed at once, so a single renewal waits only for the
//! quorum. Invariant: every renewal gets one result, that of its own lease.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tenure_statemachine::{LeaseId, LeaseRenew, Principal, Refusal, Ttl};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{
    node::{ProposeError, Replica, reply_to},
    rpc::admission::Allowed,
    tasks,
};

/// How long renewals are gathered after a command was proposed; the first one after a pause is
/// proposed at once. Renewals are at most 250 commands a second, for any number of leases, and
/// share log entries with other writes. A longer time saves little more, and delays clients that
/// renew one lease after another.
const GATHER: Duration = Duration::from_millis(4);
/// Renewals after which a command is proposed. With one batch more, the most by which it can be
/// exceeded, a command stays far below the size of a log entry.
const RENEWALS_PER_COMMAND_MAX: usize = 10_000;
/// Commands in progress at once: one waits for the disk while the next gathers, and some more keep
/// a slow quorum busy.
const COMMANDS_IN_FLIGHT_MAX: usize = 4;
/// Renewals that wait or are in progress on this node: enough for all leases of one period renewed
/// at once. Beyond them streams wait, and so do their clients. A renewal takes some 40 bytes here.
const RENEWALS_WAITING_MAX: u32 = 262_144;
/// Leases of one batch; see [`RENEWALS_PER_COMMAND_MAX`].
pub(crate) const BATCH_LEASES_MAX: usize = 4096;

/// The results of a batch, in its order: the new TTL, or that the lease does not exist; or why none
/// was renewed.
pub(crate) type Renewed = Result<Vec<Result<Ttl, Refusal>>, ProposeError>;

/// Renews leases. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Renewals {
    mailbox: mpsc::Sender<Batch>,
    waiting: Arc<Semaphore>,
}

#[derive(Debug)]
struct Batch {
    /// The user, whose renewals are one command.
    principal: Option<Principal>,
    leases: Vec<LeaseId>,
    answer: oneshot::Sender<Renewed>,
    /// Released when the batch has its results, also when its caller is gone.
    _waiting: OwnedSemaphorePermit,
}

impl Renewals {
    /// Starts to gather; ends when the last clone is dropped.
    pub(crate) fn spawn(replica: Arc<dyn Replica>) -> Self {
        // A batch holds at least one permit, so the mailbox is never full.
        let (mailbox, batches) = mpsc::channel(RENEWALS_WAITING_MAX as usize);
        tasks::spawn("lease-renewals", gather(replica, batches));
        Self {
            mailbox,
            waiting: Arc::new(Semaphore::new(RENEWALS_WAITING_MAX as usize)),
        }
    }

    /// Renews the leases of an allowed renewal, at most [`BATCH_LEASES_MAX`], from the time stamp
    /// of their command. Waits while too many others wait.
    ///
    /// # Cancel safety
    /// The leases may be renewed although the future was dropped.
    pub(in crate::rpc) async fn renew(&self, allowed: Allowed) -> Renewed {
        let (principal, leases) = allowed.into_renewal();
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let permits = u32::try_from(leases.len()).unwrap_or(u32::MAX);
        let waiting = Arc::clone(&self.waiting)
            .acquire_many_owned(permits.min(RENEWALS_WAITING_MAX))
            .await
            .expect("the semaphore is never closed");
        let (answer, renewed) = oneshot::channel();
        let batch = Batch {
            principal,
            leases,
            answer,
            _waiting: waiting,
        };
        if self.mailbox.send(batch).await.is_err() {
            return Err(ProposeError::Stopping);
        }
        // The sender is dropped without results only when the runtime ends.
        renewed.await.unwrap_or(Err(ProposeError::TimedOut))
    }
}

async fn gather(replica: Arc<dyn Replica>, mut batches: mpsc::Receiver<Batch>) {
    let in_flight = Arc::new(Semaphore::new(COMMANDS_IN_FLIGHT_MAX));
    let mut gather_until = Instant::now();
    while let Some(first) = batches.recv().await {
        let permit = Arc::clone(&in_flight).acquire_owned().await;
        let mut renewals = first.leases.len();
        let mut gathered = vec![first];
        while renewals < RENEWALS_PER_COMMAND_MAX {
            // A deadline that has passed still yields what waits already.
            match timeout_at(gather_until, batches.recv()).await {
                Ok(Some(batch)) => {
                    renewals += batch.leases.len();
                    gathered.push(batch);
                }
                Ok(None) | Err(_) => break,
            }
        }
        gather_until = Instant::now() + GATHER;
        let replica = Arc::clone(&replica);
        tasks::spawn("lease-renewal", async move {
            let _permit = permit;
            propose(replica.as_ref(), gathered).await;
        });
    }
}

/// Proposes a command for each user.
async fn propose(replica: &dyn Replica, gathered: Vec<Batch>) {
    let mut of_users: Vec<Vec<Batch>> = Vec::new();
    for batch in gathered {
        let known = of_users.iter_mut().find(|known| {
            let first = known.first();
            first.is_some_and(|first| first.principal == batch.principal)
        });
        match known {
            Some(known) => known.push(batch),
            None => of_users.push(vec![batch]),
        }
    }
    join_all(
        of_users
            .into_iter()
            .map(|batches| propose_one(replica, batches)),
    )
    .await;
}

async fn propose_one(replica: &dyn Replica, batches: Vec<Batch>) {
    let leases = batches
        .iter()
        .flat_map(|batch| batch.leases.iter().copied())
        .collect();
    let principal = batches.first().and_then(|first| first.principal.clone());
    let allowed = Allowed::renewing(principal, leases);
    let outcome = replica.propose(allowed.into_command()).await;
    let reply = outcome.map(reply_to::<LeaseRenew>);
    let mut ttls = reply.map(|(_, ttls)| ttls.map(Vec::into_iter));
    for batch in batches {
        let count = batch.leases.len();
        let renewed = match &mut ttls {
            Ok(Ok(ttls)) => Ok(ttls
                .take(count)
                .map(|ttl| ttl.ok_or(Refusal::LeaseNotFound))
                .collect()),
            Ok(Err(refusal)) => Ok(vec![Err(refusal.clone()); count]),
            Err(error) => Err(*error),
        };
        // The caller may be gone.
        _ = batch.answer.send(renewed);
    }
}

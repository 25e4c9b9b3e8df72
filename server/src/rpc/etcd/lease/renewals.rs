//! Gathers renewals: many that come together are replicated as one command.
//!
//! The first after a quiet moment goes at once, so a lone renewal waits for nothing but the quorum.
//! Invariant: every renewal is answered once, with what its own lease came to.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::{LeaseId, LeaseRenew, Refusal, Ttl};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{
    node::{ProposeError, Replica, reply_to},
    tasks,
};

/// How long renewals are gathered after a command left; the first one after a pause leaves at once.
/// However many leases there are, renewals are at most 250 commands a second, and beside other
/// writes they share those's log entries. Gathering for longer saves little more, and makes every
/// client that renews one lease after another wait.
const GATHER: Duration = Duration::from_millis(4);
/// Renewals after which a command leaves. With one batch more, which is the most that may be
/// beyond it, it stays far below the size of a log entry.
const RENEWALS_PER_COMMAND_MAX: usize = 10_000;
/// Commands under way at once: one is waiting for the disk while the next gathers, and some more
/// keep a slow quorum busy.
const COMMANDS_IN_FLIGHT_MAX: usize = 4;
/// Renewals that may wait or be under way on this node. Leases of one period that are all renewed
/// at once are not more; beyond them streams wait, and with them their clients. A renewal costs
/// some 40 bytes here.
const RENEWALS_WAITING_MAX: u32 = 262_144;
/// Leases of one batch; see [`RENEWALS_PER_COMMAND_MAX`].
pub(crate) const BATCH_LEASES_MAX: usize = 4096;

/// What the renewals of a batch came to, in its order: the TTL from now on, or that there is no
/// such lease; or why none was renewed.
pub(crate) type Renewed = Result<Vec<Result<Ttl, Refusal>>, ProposeError>;

/// Renews leases. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Renewals {
    mailbox: mpsc::Sender<Batch>,
    waiting: Arc<Semaphore>,
}

#[derive(Debug)]
struct Batch {
    leases: Vec<LeaseId>,
    answer: oneshot::Sender<Renewed>,
    /// Returned when the batch is answered, also when its caller has gone.
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

    /// Renews `leases`, at most [`BATCH_LEASES_MAX`], from the time at which their command is
    /// stamped. Waits while too many others do.
    ///
    /// # Cancel safety
    /// The leases may be renewed although the future was dropped.
    pub(crate) async fn renew(&self, leases: Vec<LeaseId>) -> Renewed {
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
            leases,
            answer,
            _waiting: waiting,
        };
        if self.mailbox.send(batch).await.is_err() {
            return Err(ProposeError::Stopping);
        }
        // Dropped unanswered only when the runtime ends with the command under way.
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
            // A moment that has passed still yields what waits already.
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

async fn propose(replica: &dyn Replica, gathered: Vec<Batch>) {
    let leases = gathered
        .iter()
        .flat_map(|batch| batch.leases.iter().copied())
        .collect();
    let outcome = replica.propose(LeaseRenew(leases).into()).await;
    let reply = outcome.map(reply_to::<LeaseRenew>);
    let mut ttls = reply.map(|(_, ttls)| ttls.map(Vec::into_iter));
    for batch in gathered {
        let count = batch.leases.len();
        let renewed = match &mut ttls {
            Ok(Ok(ttls)) => Ok(ttls
                .take(count)
                .map(|ttl| ttl.ok_or(Refusal::LeaseNotFound))
                .collect()),
            Ok(Err(refusal)) => Ok(vec![Err(refusal.clone()); count]),
            Err(error) => Err(*error),
        };
        // Who asked may have gone.
        drop(batch.answer.send(renewed));
    }
}

//! Gathers renewals: many that come together are replicated as one command.
//!
//! The first after a quiet moment goes at once, so a lone renewal waits for nothing but the quorum.
//! Invariant: every renewal is answered once, with what its own lease came to.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::{Command, LeaseId, Refusal, Reply, Ttl};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{node::ProposeError, rpc::backend::Backend, tasks};

/// How long renewals are gathered after a command left; the first one after a pause leaves at once.
/// However many leases there are, renewals are at most 250 commands a second, and beside other
/// writes they share those's log entries. Gathering for longer saves little more, and makes every
/// client that renews one lease after another wait.
const GATHER: Duration = Duration::from_millis(4);
/// Renewals of one command, so that it stays far below the size of a log entry.
const RENEWALS_PER_COMMAND_MAX: usize = 10_000;
/// Commands under way at once: one is waiting for the disk while the next gathers, and some more
/// keep a slow quorum busy.
const COMMANDS_IN_FLIGHT_MAX: usize = 4;
/// Renewals that may wait to be gathered; more are refused, for their clients to try again.
const RENEWALS_WAITING_MAX: usize = 65_536;

/// What a renewal came to: the TTL from now on, or why the lease was not renewed.
pub(crate) type Renewed = Result<Result<Ttl, Refusal>, ProposeError>;

/// Renews leases. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Renewals {
    mailbox: mpsc::Sender<Renewal>,
}

#[derive(Debug)]
struct Renewal {
    lease: LeaseId,
    answer: oneshot::Sender<Renewed>,
}

impl Renewals {
    /// Starts to gather; ends when the last clone is dropped.
    pub(crate) fn spawn(backend: Arc<dyn Backend>) -> Self {
        let (mailbox, renewals) = mpsc::channel(RENEWALS_WAITING_MAX);
        tasks::spawn("lease-renewals", gather(backend, renewals));
        Self { mailbox }
    }

    /// Renews `lease` from the time at which its command is stamped.
    ///
    /// # Cancel safety
    /// The lease may be renewed although the future was dropped.
    pub(crate) async fn renew(&self, lease: LeaseId) -> Renewed {
        let (answer, renewed) = oneshot::channel();
        self.mailbox
            .try_send(Renewal { lease, answer })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => ProposeError::Stopping,
            })?;
        // Dropped unanswered only when the runtime ends with the command under way.
        renewed.await.unwrap_or(Err(ProposeError::TimedOut))
    }
}

async fn gather(backend: Arc<dyn Backend>, mut renewals: mpsc::Receiver<Renewal>) {
    let in_flight = Arc::new(Semaphore::new(COMMANDS_IN_FLIGHT_MAX));
    let mut gather_until = Instant::now();
    while let Some(first) = renewals.recv().await {
        let permit = Arc::clone(&in_flight).acquire_owned().await;
        let mut gathered = vec![first];
        while gathered.len() < RENEWALS_PER_COMMAND_MAX {
            // A moment that has passed still yields what waits already.
            match timeout_at(gather_until, renewals.recv()).await {
                Ok(Some(renewal)) => gathered.push(renewal),
                Ok(None) | Err(_) => break,
            }
        }
        gather_until = Instant::now() + GATHER;
        let backend = Arc::clone(&backend);
        tasks::spawn("lease-renewal", async move {
            let _permit = permit;
            propose(backend.as_ref(), gathered).await;
        });
    }
}

async fn propose(backend: &dyn Backend, gathered: Vec<Renewal>) {
    let leases = gathered.iter().map(|renewal| renewal.lease).collect();
    let outcome = backend.propose(Command::LeaseRenew(leases)).await;
    let each: Box<dyn Iterator<Item = Renewed> + Send> = match outcome.map(|outcome| outcome.reply)
    {
        Ok(Ok(Reply::LeaseRenew(ttls))) => Box::new(
            ttls.into_iter()
                .map(|ttl| Ok(ttl.ok_or(Refusal::LeaseNotFound))),
        ),
        Ok(Ok(_)) => unreachable!("the reply to a renewal is a renewal's"),
        Ok(Err(refusal)) => Box::new(std::iter::repeat(Ok(Err(refusal)))),
        Err(error) => Box::new(std::iter::repeat(Err(error))),
    };
    for (renewal, renewed) in gathered.into_iter().zip(each) {
        // Who asked may have gone.
        let _ = renewal.answer.send(renewed);
    }
}

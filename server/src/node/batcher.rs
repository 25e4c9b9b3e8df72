//! Commands to groups: what this node took, encoded once, on its way to the leader.
//!
//! Self-clocking like the proposer: a command that finds a free slot leaves at once, alone; under
//! load a group is what arrived while the groups before it were on their way.
//!
//! # Invariant
//! The end of leases is proposed by the node that saw it, in the lead in which it saw it, or not at
//! all. A term does not tell leads apart, for two leaders can share one, one after the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tenure_statemachine::{Command, codec};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{
    error::ProposeError,
    forwarder::Forwarder,
    progress::Applied,
    proposer::Proposer,
    status::Leadership,
    waiters::{Reply, Waiters},
};
use crate::{clock::Clock, raft::ForwardOutcome, tasks};

/// Groups of one node on their way at once.
const GROUPS_IN_FLIGHT: usize = 2;
/// Commands in one group. What arrives in one round of a node under full load.
const GROUP_COMMANDS_MAX: usize = 1024;
/// Bytes after which a group is closed.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// Commands that may wait to leave. At the rates this service reaches, a second's worth: more would
/// only time out in the queue.
pub(super) const QUEUE_MAX: usize = 16 << 10;
/// Bytes that may wait to leave; bounds the memory of a node without a leader.
const QUEUE_BYTES_MAX: usize = 128 << 20;
/// Pause before a group that was refused is offered again, when no change of leadership tells.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A command and where its answer goes.
#[derive(Debug)]
struct Proposal {
    command: Command,
    bytes: usize,
    reply: Reply,
}

/// Takes commands.
#[derive(Clone, Debug)]
pub(super) struct Batcher {
    queue: mpsc::Sender<Proposal>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// What the batcher works with.
pub(super) struct Parts {
    pub(super) origin: u64,
    pub(super) waiters: Arc<Waiters>,
    pub(super) proposer: Proposer,
    pub(super) forwarder: Forwarder,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) request_timeout: Duration,
}

impl Batcher {
    /// Starts the batcher.
    pub(super) fn spawn(parts: Parts) -> Self {
        let (queue, proposals) = mpsc::channel(QUEUE_MAX);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        tasks::spawn(
            "batcher",
            run(Arc::new(parts), Arc::clone(&waiting_bytes), proposals),
        );
        Self {
            queue,
            waiting_bytes,
        }
    }

    /// Takes a command, or refuses it because too many wait.
    pub(super) fn push(
        &self,
        command: Command,
        bytes: usize,
        reply: Reply,
    ) -> Result<(), ProposeError> {
        if self
            .waiting_bytes
            .load(Ordering::Relaxed)
            .saturating_add(bytes)
            > QUEUE_BYTES_MAX
        {
            return Err(ProposeError::Overloaded);
        }
        self.queue
            .try_send(Proposal {
                command,
                bytes,
                reply,
            })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => ProposeError::Stopping,
            })?;
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

async fn run(
    parts: Arc<Parts>,
    waiting_bytes: Arc<AtomicUsize>,
    mut proposals: mpsc::Receiver<Proposal>,
) {
    let slots = Arc::new(Semaphore::new(GROUPS_IN_FLIGHT));
    let mut sequence = 0;
    let mut held = None;
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let first = match held.take() {
            Some(first) => first,
            None => match proposals.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let gathered = gather(first, &mut proposals);
        held = gathered.held;
        waiting_bytes.fetch_sub(gathered.bytes, Ordering::Relaxed);
        sequence += 1;
        let deadline = parts.clock.now() + parts.request_timeout;
        let group = codec::encode_group(parts.origin, sequence, &gathered.commands);
        let replies = gathered.replies;
        parts.waiters.insert(sequence, replies, deadline, slot);
        let parts = Arc::clone(&parts);
        match gathered.term {
            Some(term) => tasks::spawn("group", drive_here(parts, group, sequence, term)),
            None => tasks::spawn("group", drive(parts, group, sequence, deadline)),
        };
    }
}

/// What leaves together.
struct Gathered {
    commands: Vec<Command>,
    replies: Vec<Reply>,
    bytes: usize,
    /// The only term in which it may be proposed, and only here.
    term: Option<u64>,
    /// Taken from the queue, for the next group.
    held: Option<Proposal>,
}

/// Takes what has arrived and may go with `first`.
fn gather(first: Proposal, proposals: &mut mpsc::Receiver<Proposal>) -> Gathered {
    let mut gathered = Gathered {
        term: lead_of(&first.command),
        bytes: first.bytes,
        commands: vec![first.command],
        replies: vec![first.reply],
        held: None,
    };
    while gathered.commands.len() < GROUP_COMMANDS_MAX && gathered.bytes < GROUP_BYTES_MAX {
        let Ok(next) = proposals.try_recv() else {
            break;
        };
        if lead_of(&next.command) != gathered.term {
            gathered.held = Some(next);
            break;
        }
        gathered.bytes += next.bytes;
        gathered.commands.push(next.command);
        gathered.replies.push(next.reply);
    }
    gathered
}

/// The term of the lead that a command is part of, if it is void outside of it.
fn lead_of(command: &Command) -> Option<u64> {
    match command {
        Command::LeaseExpire(expiries) => expiries.first().map(|expiry| expiry.term),
        _ => None,
    }
}

/// Brings a group into the log here, in `term`, or gives it up.
async fn drive_here(parts: Arc<Parts>, group: Bytes, sequence: u64, term: u64) {
    let now = *parts.leadership.borrow();
    let outcome = if now.is_leader && now.term == term {
        parts.proposer.propose(group, term).await
    } else {
        ForwardOutcome::NotLeader
    };
    let cause = match outcome {
        // The answer came, or comes, with the log.
        ForwardOutcome::Committed => return,
        ForwardOutcome::NotLeader => ProposeError::NoLeader,
        ForwardOutcome::Overloaded => ProposeError::Overloaded,
        ForwardOutcome::Lost => ProposeError::LeaderLost,
    };
    parts.waiters.fail(sequence, cause);
}

/// Brings a group to whoever leads, until it is answered or its time has passed.
///
/// A group whose leader was lost is offered to the next one as soon as the log shows that the lost
/// leader can no longer bring it in: so it takes effect once, or not at all.
async fn drive(parts: Arc<Parts>, group: Bytes, sequence: u64, deadline: Duration) {
    let mut leadership = parts.leadership.clone();
    while parts.waiters.waits(sequence) {
        let now = *leadership.borrow_and_update();
        let outcome = match now.leader {
            _ if now.is_leader => parts.proposer.propose(group.clone(), now.term).await,
            Some(leader) => {
                parts
                    .forwarder
                    .forward(leader, now.term, group.clone())
                    .await
            }
            None => ForwardOutcome::NotLeader,
        };
        match outcome {
            // The answer came, or comes, with the log.
            ForwardOutcome::Committed => return,
            ForwardOutcome::Overloaded => {
                return parts.waiters.fail(sequence, ProposeError::Overloaded);
            }
            ForwardOutcome::Lost => {
                superseded(&parts, sequence, now.term).await;
                continue;
            }
            ForwardOutcome::NotLeader => {}
        }
        if parts.clock.now() >= deadline {
            return parts.waiters.fail(sequence, ProposeError::NoLeader);
        }
        if now.leader.is_none() {
            let left = deadline.saturating_sub(parts.clock.now());
            // Cancel-safe: a missed change is seen by the next look.
            let changed = tokio::time::timeout(left, leadership.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return parts.waiters.fail(sequence, ProposeError::Stopping);
            }
        } else {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Waits until an entry of a later term than `term` is applied, or the group is answered.
///
/// Entries of earlier terms come before those of later ones. When one of a later term is applied,
/// every entry of `term` that will ever be committed has been applied, too.
async fn superseded(parts: &Parts, sequence: u64, term: u64) {
    let mut applied = parts.applied.clone();
    let later = applied.wait_for(|applied| applied.term > term || !parts.waiters.waits(sequence));
    // When the time passes first, the waiters give the group up, and say that nobody knows.
    if tokio::time::timeout(parts.request_timeout, later)
        .await
        .is_err()
    {
        parts.waiters.fail(sequence, ProposeError::LeaderLost);
    }
}

#[cfg(test)]
mod tests {
    use tenure_statemachine::{LeaseExpiry, LeaseId};
    use tokio::sync::oneshot;

    use super::*;

    fn proposal(command: Command) -> Proposal {
        Proposal {
            command,
            bytes: 1,
            reply: oneshot::channel().0,
        }
    }

    fn expire(term: u64) -> Command {
        Command::LeaseExpire(vec![LeaseExpiry {
            id: LeaseId(1),
            generation: 1,
            term,
        }])
    }

    #[test]
    fn the_end_of_leases_goes_with_nothing_that_may_be_offered_to_another_leader() {
        let revoke = || Command::LeaseRevoke(LeaseId(2));
        let (queue, mut proposals) = mpsc::channel(8);
        for command in [
            revoke(),
            revoke(),
            expire(3),
            expire(3),
            expire(4),
            revoke(),
        ] {
            queue.try_send(proposal(command)).unwrap();
        }
        let mut held = None;
        let mut groups = Vec::new();
        while let Some(first) = held.take().or_else(|| proposals.try_recv().ok()) {
            let gathered = gather(first, &mut proposals);
            groups.push((gathered.commands, gathered.term));
            held = gathered.held;
        }
        let expected = [
            (vec![revoke(), revoke()], None),
            (vec![expire(3), expire(3)], Some(3)),
            (vec![expire(4)], Some(4)),
            (vec![revoke()], None),
        ];
        assert_eq!(groups, expected);
    }
}

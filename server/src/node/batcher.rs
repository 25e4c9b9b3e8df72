//! Collects commands into groups. The task that queues a command encodes it, once; a group is made
//! of the commands in the queue.
//!
//! Self-clocking like the proposer: a command that finds a free slot leaves at once, alone; under
//! load a group holds the commands that arrived while earlier groups were in flight. `offer` brings
//! a group into the log. Commands that are bound to a term share no group with others.
//!
//! Large commands have a queue of their own, from which a group takes what the small ones leave,
//! and one at least: megabytes of one client would otherwise stand before the renewals and short
//! writes of all others for seconds. Calls that are open at the same time have no order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tenure_statemachine::{Command, FeatureLevel, Meta, ORIGIN_WINDOW, codec};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{
    error::ProposeError,
    forwarder::Forwarder,
    offer,
    progress::Applied,
    proposer::Proposer,
    status::Leadership,
    waiters::{Reply, Waiters},
};
use crate::{clock::Clock, tasks};

/// Groups of one node in flight.
const GROUPS_IN_FLIGHT: usize = 2;
/// Most commands in one group: about the arrivals of one round trip of a node under full load.
const GROUP_COMMANDS_MAX: usize = 1024;
/// Encoded size at which a group is closed, in bytes.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// Largest encoded command that is proposed, in bytes: above every request that the API admits, and
/// small enough for several to fit into one message between peers.
const COMMAND_BYTES_MAX: usize = 16 << 20;
/// Most queued commands: a second's worth at this service's rates. More would time out in the
/// queue.
pub(super) const QUEUE_MAX: usize = 16 << 10;
/// Most encoded bytes of queued commands; bounds the memory of a node without a leader.
const QUEUE_BYTES_MAX: usize = 128 << 20;
/// Encoded size from which a command is large, in bytes: a sixteenth of what one group holds, so
/// that those that are not delay each other little.
const LARGE_BYTES: usize = 64 << 10;
/// Most encoded bytes of queued commands with which a large one is queued: the rest is for others.
const LARGE_QUEUE_BYTES_MAX: usize = QUEUE_BYTES_MAX - (16 << 20);
/// Most queued large commands: as many as their bytes allow.
const LARGE_QUEUE_MAX: usize = LARGE_QUEUE_BYTES_MAX / LARGE_BYTES;

/// A queued command and the channel for its outcome.
#[derive(Debug)]
struct Proposal {
    /// The encoded command.
    command: Bytes,
    /// The only term in which the command may be proposed, and only by this node.
    lead: Option<u64>,
    reply: Reply,
}

/// Handle that queues commands. Clones share the queues.
#[derive(Clone, Debug)]
pub(super) struct Batcher {
    small: mpsc::Sender<Proposal>,
    large: mpsc::Sender<Proposal>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// Dependencies of the batcher.
pub(super) struct Parts {
    pub(super) origin: u64,
    pub(super) waiters: Arc<Waiters>,
    pub(super) proposer: Proposer,
    pub(super) forwarder: Forwarder,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) meta: watch::Receiver<Meta>,
    /// How long the first offer of a group may go unanswered before the group is offered again.
    pub(super) offer_max: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) request_timeout: Duration,
}

impl Batcher {
    /// Starts the batcher's task.
    pub(super) fn spawn(parts: Parts) -> Self {
        let (batcher, queues) = Self::with_queues();
        let waiting_bytes = Arc::clone(&batcher.waiting_bytes);
        tasks::spawn("batcher", run(Arc::new(parts), waiting_bytes, queues));
        batcher
    }

    fn with_queues() -> (Self, Queues) {
        let (small, smalls) = mpsc::channel(QUEUE_MAX);
        let (large, larges) = mpsc::channel(LARGE_QUEUE_MAX);
        let batcher = Self {
            small,
            large,
            waiting_bytes: Arc::new(AtomicUsize::new(0)),
        };
        let queues = Queues {
            small: smalls,
            large: larges,
        };
        (batcher, queues)
    }

    /// Queues a command, or refuses it because it is too large or the queue is full. Encodes it
    /// here, in the caller's task.
    pub(super) fn push(&self, command: &Command, reply: Reply) -> Result<(), ProposeError> {
        let encoded = codec::encode_command(command);
        let bytes = encoded.len();
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge);
        }
        let (queue, bytes_max) = if bytes < LARGE_BYTES {
            (&self.small, QUEUE_BYTES_MAX)
        } else {
            (&self.large, LARGE_QUEUE_BYTES_MAX)
        };
        let waiting_bytes = self.waiting_bytes.load(Ordering::Relaxed);
        if waiting_bytes.saturating_add(bytes) > bytes_max {
            return Err(ProposeError::Overloaded);
        }
        // Counted before the batcher can take it out, so that the count never drops below zero.
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = queue.try_send(Proposal {
            command: encoded,
            lead: lead_of(command),
            reply,
        });
        sent.map_err(|error| {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => ProposeError::Stopping,
            }
        })
    }
}

async fn run(parts: Arc<Parts>, waiting_bytes: Arc<AtomicUsize>, mut queues: Queues) {
    let slots = Arc::new(Semaphore::new(GROUPS_IN_FLIGHT));
    let mut sequence = 0;
    let mut held = None;
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let first = match held.take() {
            Some(first) => first,
            None => match queues.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let gathered = gather(first, &mut queues, &waiting_bytes);
        held = gathered.held;
        let (commands, replies) = (gathered.commands, gathered.replies);
        if commands.is_empty() {
            continue;
        }
        sequence += 1;
        parts.waiters.within(sequence, ORIGIN_WINDOW).await;
        let deadline = parts.clock.now() + parts.request_timeout;
        let repeatable = parts.meta.borrow().level >= FeatureLevel::REPEATABLE_GROUPS;
        let since = repeatable.then(|| parts.applied.borrow().index);
        let group = codec::group_of(parts.origin, sequence, since, &commands);
        parts.waiters.insert(sequence, replies, deadline, slot);
        let offer = offer::Offer {
            group,
            sequence,
            deadline,
            repeatable,
            lead: gathered.lead,
        };
        tasks::spawn("group", offer.drive(Arc::clone(&parts)));
    }
}

/// The commands of one group.
struct Gathered {
    commands: Vec<Bytes>,
    replies: Vec<Reply>,
    /// The only term in which the group may be proposed, and only by this node.
    lead: Option<u64>,
    /// Taken from the queue, but belongs in the next group.
    held: Option<Proposal>,
}

/// The queued commands.
#[derive(Debug)]
struct Queues {
    small: mpsc::Receiver<Proposal>,
    large: mpsc::Receiver<Proposal>,
}

impl Queues {
    /// Waits for a command, a small one if there are both; `None` when nobody can queue one.
    ///
    /// # Cancel safety
    /// No command is lost.
    async fn recv(&mut self) -> Option<Proposal> {
        // Both are cancel-safe.
        tokio::select! {
            biased;
            Some(small) = self.small.recv() => Some(small),
            Some(large) = self.large.recv() => Some(large),
            else => None,
        }
    }

    /// The next command for a group that is `full` or not, and has large commands or none: small
    /// ones first, and a large one even when those fill the group, so that it waits for one group
    /// only.
    fn next(&mut self, full: bool, has_large: bool) -> Option<Proposal> {
        if !full && let Ok(small) = self.small.try_recv() {
            return Some(small);
        }
        if !full || !has_large {
            return self.large.try_recv().ok();
        }
        None
    }
}

/// Takes the queued commands that may share a group with `first`, up to the bounds. Commands whose
/// callers have given up are dropped: after an outage they would only delay the others.
fn gather(first: Proposal, queues: &mut Queues, waiting_bytes: &AtomicUsize) -> Gathered {
    let mut gathered = Gathered {
        commands: Vec::new(),
        replies: Vec::new(),
        lead: first.lead,
        held: None,
    };
    let (mut bytes, mut has_large) = (0, false);
    let mut next = Some(first);
    while let Some(proposal) = next {
        if proposal.lead != gathered.lead {
            gathered.held = Some(proposal);
            break;
        }
        let length = proposal.command.len();
        waiting_bytes.fetch_sub(length, Ordering::Relaxed);
        if !proposal.reply.is_closed() {
            bytes += length;
            has_large |= length >= LARGE_BYTES;
            gathered.commands.push(proposal.command);
            gathered.replies.push(proposal.reply);
        }
        let full = gathered.commands.len() >= GROUP_COMMANDS_MAX || bytes >= GROUP_BYTES_MAX;
        next = queues.next(full, has_large);
    }
    gathered
}

/// The term that a command is bound to, if it is void in every other term.
fn lead_of(command: &Command) -> Option<u64> {
    match command {
        Command::LeaseExpire(expiries) => expiries.first().map(|expiry| expiry.term),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_command_is_measured_as_it_is_encoded() {
        let (batcher, mut queues) = Batcher::with_queues();
        let waiting_bytes = Arc::clone(&batcher.waiting_bytes);
        let put = |value_len: usize| {
            let put = tenure_statemachine::Put {
                key: Bytes::from_static(b"k"),
                value: vec![0; value_len].into(),
                ..tenure_statemachine::Put::default()
            };
            batcher.push(&Command::Put(put), oneshot::channel().0)
        };
        let beside = codec::encode_command(&Command::Put(tenure_statemachine::Put {
            key: Bytes::from_static(b"k"),
            value: vec![0; 1 << 21].into(),
            ..tenure_statemachine::Put::default()
        }));
        // The length prefix of the value takes the same number of bytes at either size.
        let largest = COMMAND_BYTES_MAX - (beside.len() - (1 << 21));
        assert_eq!(put(largest + 1), Err(ProposeError::TooLarge));
        assert_eq!(waiting_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(put(largest), Ok(()));
        assert_eq!(waiting_bytes.load(Ordering::Relaxed), COMMAND_BYTES_MAX);
        let queued = queues.next(false, false).unwrap();
        assert_eq!(queued.command.len(), COMMAND_BYTES_MAX);
    }

    type Answer = oneshot::Receiver<Result<tenure_statemachine::Outcome, ProposeError>>;

    fn proposal(bytes: usize) -> (Proposal, Answer) {
        let (reply, answer) = oneshot::channel();
        let proposal = Proposal {
            command: vec![0; bytes].into(),
            lead: None,
            reply,
        };
        (proposal, answer)
    }

    #[test]
    fn small_commands_do_not_wait_for_large_ones_nor_large_ones_for_ever() {
        let (batcher, mut queues) = Batcher::with_queues();
        let mut answers = Vec::new();
        let mut push = |queue: &mpsc::Sender<Proposal>, bytes| {
            let (proposal, answer) = proposal(bytes);
            batcher.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
            queue.try_send(proposal).unwrap();
            answers.push(answer);
        };
        for _ in 0..8 {
            push(&batcher.large, GROUP_BYTES_MAX);
        }
        for _ in 0..GROUP_COMMANDS_MAX + 10 {
            push(&batcher.small, 1);
        }
        let mut lengths = Vec::new();
        while let Some(first) = queues.next(false, false) {
            let gathered = gather(first, &mut queues, &batcher.waiting_bytes);
            let commands = gathered.commands.iter();
            let larges = commands.filter(|it| it.len() >= LARGE_BYTES).count();
            lengths.push((gathered.commands.len() - larges, larges));
        }
        // The first group is full of small commands and has a large one beside them.
        let expected = [(GROUP_COMMANDS_MAX, 1), (10, 1)];
        assert_eq!(lengths[..2], expected);
        assert_eq!(lengths[2..], [(0, 1); 6]);
        assert_eq!(batcher.waiting_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn commands_whose_callers_gave_up_are_not_proposed() {
        let (batcher, mut queues) = Batcher::with_queues();
        let (mut answers, waiting_bytes) = (Vec::new(), AtomicUsize::new(3));
        for _ in 0..3 {
            let (proposal, answer) = proposal(1);
            batcher.small.try_send(proposal).unwrap();
            answers.push(answer);
        }
        answers.truncate(1);
        let first = queues.next(false, false).unwrap();
        let gathered = gather(first, &mut queues, &waiting_bytes);
        assert_eq!((gathered.commands.len(), gathered.replies.len()), (1, 1));
        assert_eq!(waiting_bytes.into_inner(), 0);
    }
}

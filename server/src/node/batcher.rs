//! Collects commands into groups. The task that queues a command encodes it, once; a group is made
//! of the commands in the queue.
//!
//! Self-clocking like the proposer: a command that finds a free slot leaves at once, alone; under
//! load a group holds the commands that arrived while earlier groups were in flight. `offer` brings
//! a group into the log. Commands that are bound to a term share no group with others.

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

/// A queued command and the channel for its outcome.
#[derive(Debug)]
struct Proposal {
    /// The encoded command.
    command: Bytes,
    /// The only term in which the command may be proposed, and only by this node.
    lead: Option<u64>,
    reply: Reply,
}

/// Handle that queues commands. Clones share the queue.
#[derive(Clone, Debug)]
pub(super) struct Batcher {
    queue: mpsc::Sender<Proposal>,
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

    /// Queues a command, or refuses it because it is too large or the queue is full. Encodes it
    /// here, in the caller's task.
    pub(super) fn push(&self, command: &Command, reply: Reply) -> Result<(), ProposeError> {
        let encoded = codec::encode_command(command);
        let bytes = encoded.len();
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge);
        }
        if self
            .waiting_bytes
            .load(Ordering::Relaxed)
            .saturating_add(bytes)
            > QUEUE_BYTES_MAX
        {
            return Err(ProposeError::Overloaded);
        }
        // Counted before the batcher can take it out, so that the count never drops below zero.
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = self.queue.try_send(Proposal {
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
        let gathered = gather(first, &mut proposals, &waiting_bytes);
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

/// Takes the queued commands that may share a group with `first`, up to the bounds. Commands whose
/// callers have given up are dropped: after an outage they would only delay the others.
fn gather(
    first: Proposal,
    proposals: &mut mpsc::Receiver<Proposal>,
    waiting_bytes: &AtomicUsize,
) -> Gathered {
    let mut gathered = Gathered {
        commands: Vec::new(),
        replies: Vec::new(),
        lead: first.lead,
        held: None,
    };
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(proposal) = next {
        if proposal.lead != gathered.lead {
            gathered.held = Some(proposal);
            break;
        }
        waiting_bytes.fetch_sub(proposal.command.len(), Ordering::Relaxed);
        if !proposal.reply.is_closed() {
            bytes += proposal.command.len();
            gathered.commands.push(proposal.command);
            gathered.replies.push(proposal.reply);
        }
        let full = gathered.commands.len() >= GROUP_COMMANDS_MAX || bytes >= GROUP_BYTES_MAX;
        next = if full {
            None
        } else {
            proposals.try_recv().ok()
        };
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
        let (queue, mut proposals) = mpsc::channel(8);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let batcher = Batcher {
            queue,
            waiting_bytes: Arc::clone(&waiting_bytes),
        };
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
        assert_eq!(
            proposals.try_recv().unwrap().command.len(),
            COMMAND_BYTES_MAX
        );
    }

    #[test]
    fn commands_whose_callers_gave_up_are_not_proposed() {
        let (queue, mut proposals) = mpsc::channel(8);
        let (mut answers, waiting_bytes) = (Vec::new(), AtomicUsize::new(3));
        for _ in 0..3 {
            let (reply, answer) = oneshot::channel();
            let proposal = Proposal {
                command: Bytes::from_static(b"x"),
                lead: None,
                reply,
            };
            queue.try_send(proposal).unwrap();
            answers.push(answer);
        }
        answers.truncate(1);
        let first = proposals.try_recv().unwrap();
        let gathered = gather(first, &mut proposals, &waiting_bytes);
        assert_eq!((gathered.commands.len(), gathered.replies.len()), (1, 1));
        assert_eq!(waiting_bytes.into_inner(), 0);
    }
}

//! What a command may carry beside itself: guards, and a name by which a repeat is known.

use bytes::Bytes;

use super::{CONDITIONAL, Command, Txn, operation};
use crate::{
    encoding::{self, Decoder, Encoded, Encoder, Malformed, or_none},
    value::{LeaseId, Revision, Ttl},
};

/// Holds while `name`, a lock or an election, is held under `token`; or while `name` is a key that
/// was created in revision `token`. If that key is itself a claim, it must hold; if it is none,
/// there must be no claim on a lock or an election of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The name.
    pub name: Bytes,
    /// The token.
    pub token: Revision,
}

encoding::record! { Guard { name, token } }

/// Names a mutation so that a repeat of it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// The mutation of a session.
    Session {
        /// The session, which is a lease.
        session: LeaseId,
        /// Counts the session's mutations, from 1.
        sequence: u64,
        /// Everything up to here was answered and is forgotten.
        answered: u64,
    },
    /// Any other string.
    Key(Bytes),
    /// Any other string, and who sent it. From [`crate::FeatureLevel::BOUNDED`] on.
    ClientKey {
        /// Tells clients apart, so that each has its share of what is remembered; not part of the
        /// name.
        client: u64,
        /// The string.
        key: Bytes,
    },
}

encoding::choice! {
    RequestId {
        1 = Session { session, sequence, answered },
        2 = Key(key),
        3 = ClientKey { client, key },
    } "unknown request id"
}

/// In place of the id of a request that has none.
const NO_REQUEST: u8 = 0;

/// A command that is executed only if its guards hold, and only once under its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditional {
    /// All must hold.
    pub guards: Vec<Guard>,
    /// When this id was seen before, the first outcome is the answer.
    pub request: Option<RequestId>,
    /// Never itself conditional.
    pub command: Command,
}

impl Encoded for Conditional {
    fn write(&self, out: &mut Encoder) {
        out.value(&self.guards);
        or_none::write(out, NO_REQUEST, self.request.as_ref());
        out.value(&self.command);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let guards = input.value()?;
        let request = or_none::read(input, NO_REQUEST)?;
        if input.is_next(CONDITIONAL) {
            return Err(Malformed::Form("a condition within a condition"));
        }
        Ok(Self {
            guards,
            request,
            command: input.value()?,
        })
    }
}

/// Encodes what the id of a request stands for: its guards and its command.
pub(crate) fn encode_request(guards: &[Guard], command: &Command) -> Bytes {
    let mut out = Encoder::new();
    out.list(guards);
    out.value(command);
    out.finish()
}

/// Open a session on a lease of its own, or say that one is open already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOpen {
    /// The lease; never [`LeaseId::NONE`]. With `grant` a node chose it, and never chose it for
    /// another session.
    pub lease: LeaseId,
    /// Make the lease, with this time to live; refused when it exists. Without it the lease must
    /// have a session.
    pub grant: Option<Ttl>,
}

encoding::record! { SessionOpen { lease, grant } }

// Answered with the session and its time to live.
operation! {
    SessionOpen: it => Command::SessionOpen(it);
    (LeaseId, Ttl): SessionOpen(session, ttl) => (session, ttl)
}

/// Writes below a prefix need a live guard of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FencePolicy {
    /// Applies to every key that begins with this; never empty.
    pub prefix: Bytes,
    /// The name of the lock or election.
    pub lock: Bytes,
}

encoding::record! { FencePolicy { prefix, lock } }

/// A change to the fence policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceCommand {
    /// Set the policy of a prefix.
    Set(FencePolicy),
    /// Remove the policy of a prefix.
    Remove(Bytes),
}

encoding::choice! {
    FenceCommand { 1 = Set(policy), 2 = Remove(prefix) }
    "unknown change to the fence policies"
}

operation! { FenceCommand: it => Command::Fence(it); (): Done => () }

/// What is to happen when a lease expires, or when a claim of it is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillSet {
    /// The lease.
    pub lease: LeaseId,
    /// If given: the name that the lease claims; the will runs when that claim is lost.
    pub lock: Option<Bytes>,
    /// The will; `None` removes it.
    pub will: Option<Will>,
}

encoding::record! { WillSet { lease, lock, will } }

operation! { WillSet: it => Command::WillSet(it); (): Done => () }

/// A transaction that runs later, unless a guard does not hold then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Will {
    /// All must hold when it runs.
    pub guards: Vec<Guard>,
    /// What runs.
    pub txn: Txn,
}

encoding::record! { Will { guards, txn } }

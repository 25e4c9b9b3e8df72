//! Conditions of commands: guards, request ids, fence policies and wills.

use bytes::Bytes;

use super::{BY, CONDITIONAL, Command, Txn, operation};
use crate::{
    encoding::{self, Decoder, Encoded, Encoder, Malformed, or_none},
    value::{LeaseId, Revision, Ttl},
};

/// Holds while `name`, a lock or an election, is held under `token`; or while `name` is a key that
/// was created in revision `token`. If that key is a claim, the claim must hold; otherwise there
/// must be no claim on a lock or an election of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The name of a lock or election, or a key.
    pub name: Bytes,
    /// The token.
    pub token: Revision,
}

encoding::record! { Guard { name, token } }

/// Identifies a mutation, so that a repeated request is deduplicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// The mutation of a session.
    Session {
        /// The session, which is a lease.
        session: LeaseId,
        /// The number of the mutation within the session, from 1.
        sequence: u64,
        /// The watermark: all mutations up to here were answered and are forgotten.
        answered: u64,
    },
    /// Any string chosen by a client.
    Key(Bytes),
    /// Any string chosen by a client, with the client. From [`crate::FeatureLevel::BOUNDED`] on.
    ClientKey {
        /// Tells clients apart, so that each has its share of the remembered keys; not part of the
        /// id.
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

/// The tag for a request without an id.
const NO_REQUEST: u8 = 0;

/// A command that is executed only if its guards hold, and only once under its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditional {
    /// All must hold.
    pub guards: Vec<Guard>,
    /// If this id was seen before, the reply is the first outcome.
    pub request: Option<RequestId>,
    /// Never conditional itself, and without a principal.
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
        if input.is_next(BY) {
            return Err(Malformed::Form("a principal within a condition"));
        }
        Ok(Self {
            guards,
            request,
            command: input.value()?,
        })
    }
}

/// Encodes the part of a request that its id stands for: its guards and its command.
pub(crate) fn encode_request(guards: &[Guard], command: &Command) -> Bytes {
    let mut out = Encoder::new();
    out.list(guards);
    out.value(command);
    out.finish()
}

/// Opens a session on a new lease, or confirms that one is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOpen {
    /// The lease; never [`LeaseId::NONE`]. With `grant`, a node chose it, and never chose it for
    /// another session.
    pub lease: LeaseId,
    /// Grants the lease, with this time to live; refused if it exists. If unset, the lease must
    /// have a session already.
    pub grant: Option<Ttl>,
}

encoding::record! { SessionOpen { lease, grant } }

// The reply is the session and its time to live.
operation! {
    SessionOpen: it => Command::SessionOpen(it);
    (LeaseId, Ttl): SessionOpen(session, ttl) => (session, ttl)
}

/// A prefix below which writes need a live guard of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FencePolicy {
    /// The prefix of the keys it applies to; never empty.
    pub prefix: Bytes,
    /// The name of the lock or election.
    pub lock: Bytes,
}

encoding::record! { FencePolicy { prefix, lock } }

/// A change to the fence policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceCommand {
    /// Sets the policy of a prefix.
    Set(FencePolicy),
    /// Removes the policy of a prefix.
    Remove(Bytes),
}

encoding::choice! {
    FenceCommand { 1 = Set(policy), 2 = Remove(prefix) }
    "unknown change to the fence policies"
}

operation! { FenceCommand: it => Command::Fence(it); (): Done => () }

/// Sets or removes the will that runs when a lease expires, or when a claim of it is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillSet {
    /// The lease.
    pub lease: LeaseId,
    /// The name of a lock or election that the lease claims: the will runs when that claim is lost.
    /// `None`: the will runs when the lease expires.
    pub lock: Option<Bytes>,
    /// The will; `None` removes it.
    pub will: Option<Will>,
}

encoding::record! { WillSet { lease, lock, will } }

operation! { WillSet: it => Command::WillSet(it); (): Done => () }

/// A transaction that runs later, if its guards hold then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Will {
    /// Guards; all must hold when it runs.
    pub guards: Vec<Guard>,
    /// The transaction.
    pub txn: Txn,
}

encoding::record! { Will { guards, txn } }

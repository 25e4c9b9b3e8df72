//! How one call is made: what it does to the store, on which connection it travels, how long it may
//! take, what it carries.
//!
//! A description only; `run.rs` makes the call.

use std::time::Duration;

use crate::{
    channel::Lane, client::SequenceNumber, conditions::Conditions, error::Operation,
    freshness::Freshness,
};

/// Which services a call belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// etcd's, which other servers offer too.
    Etcd,
    /// Those of `tenure.v1`. A server that answers one of these knows conditions.
    Tenure,
}

/// How one call is made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) operation: Operation,
    pub(crate) lane: Lane,
    pub(crate) timeout: Option<Duration>,
    /// Whether the deadline is sent to the server. Not for streams, which outlive their opening.
    pub(crate) announce: bool,
    pub(crate) family: Family,
    /// What the caller asked to be carried; nothing for a call that the server takes without
    /// conditions only.
    pub(crate) conditions: Option<Conditions>,
    /// Bounds on the state that a read sees.
    pub(crate) freshness: Freshness,
    /// The sequence number of the call; allocated when the call starts unless given.
    pub(crate) number: Option<SequenceNumber>,
    /// Sent again, a write that was executed changes nothing more.
    pub(crate) repeatable: bool,
    /// Whether a server that knows no leader is to refuse the call, and to end its stream.
    pub(crate) require_leader: bool,
}

impl Call {
    /// A short call that changes nothing.
    pub(crate) fn read(timeout: Option<Duration>) -> Self {
        Self {
            operation: Operation::Read,
            lane: Lane::Calls,
            timeout,
            announce: true,
            family: Family::Etcd,
            conditions: None,
            freshness: Freshness::default(),
            number: None,
            repeatable: false,
            require_leader: false,
        }
    }

    /// A short call that changes something and takes no conditions: members, maintenance.
    pub(crate) fn write(timeout: Option<Duration>) -> Self {
        Self {
            operation: Operation::Write,
            ..Self::read(timeout)
        }
    }

    /// A short call that changes something and carries these conditions, those of the client, and
    /// the number that its session gives it.
    pub(crate) fn conditional(timeout: Option<Duration>, conditions: Conditions) -> Self {
        Self {
            conditions: Some(conditions),
            ..Self::write(timeout)
        }
    }

    /// The opening of a stream; the deadline covers the opening only.
    pub(crate) fn stream(lane: Lane, timeout: Option<Duration>) -> Self {
        Self {
            lane,
            announce: false,
            ..Self::read(timeout)
        }
    }

    /// A short call of `tenure.v1`. A write carries the guards of the client and the number of its
    /// session as metadata: leave the options in the message empty.
    ///
    /// Locks and elections take [`Lane::KeepAlive`], so that they never wait behind other traffic.
    pub(crate) fn tenure(operation: Operation, lane: Lane) -> Self {
        Self {
            operation,
            lane,
            family: Family::Tenure,
            conditions: (operation == Operation::Write).then(Conditions::default),
            ..Self::read(None)
        }
    }

    /// The call opens a stream: the deadline covers the opening only and is not sent to the server.
    pub(crate) fn streaming(mut self) -> Self {
        self.announce = false;
        self
    }

    /// Makes a server that is cut off from the others refuse the call, and end its stream: for a
    /// stream whose silence means that nothing happened.
    pub(crate) fn require_leader(mut self) -> Self {
        self.require_leader = true;
        self
    }

    /// Sent again, the write changes nothing more than it did: it is repeated without a number, and
    /// an answer to a repeat says nothing about the attempts before, which are not remembered.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Deadline in place of the client's.
    pub(crate) fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Carries these conditions beside those of the client.
    pub(crate) fn carrying(mut self, conditions: Conditions) -> Self {
        self.conditions = Some(conditions);
        self
    }

    /// Reads a state within these bounds.
    pub(crate) fn fresh(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Sends the call with a sequence number that was allocated before: for a request that the
    /// caller itself repeats, as when a stream is resumed.
    pub(crate) fn under(mut self, number: Option<SequenceNumber>) -> Self {
        self.number = number;
        self
    }
}

/// Makes a call of a service and takes what was answered, a message or a stream, out of its
/// envelope: `ask!(client, call, LockClient.release(request)).await`.
macro_rules! ask {
    ($client:expr, $call:expr, $service:ident.$method:ident($request:expr)) => {
        $client.run($call, $request, |channel, request| async move {
            let service = $service::new(channel);
            let mut service = service.max_decoding_message_size($crate::client::RECEIVE_BYTES_MAX);
            service
                .$method(request)
                .await
                .map(tonic::Response::into_inner)
        })
    };
}
pub(crate) use ask;

//! Properties of one call: whether it writes, its connection lane, its deadline, the metadata it
//! carries.
//!
//! Describes a call only; `run.rs` makes it.

use std::time::Duration;

use crate::{
    channel::Lane, client::SequenceNumber, conditions::Conditions, error::Operation,
    freshness::Freshness,
};

/// The family of services that a call belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Services of etcd, which other servers offer too.
    Etcd,
    /// Services of `tenure.v1`. A server that answers one of these checks conditions.
    Tenure,
}

/// Properties of one call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) operation: Operation,
    pub(crate) lane: Lane,
    pub(crate) timeout: Option<Duration>,
    /// Whether the deadline is sent to the server. Not for streams, which outlive their opening.
    pub(crate) announce: bool,
    pub(crate) family: Family,
    /// Conditions set by the caller; `None` for a call that takes none.
    pub(crate) conditions: Option<Conditions>,
    /// Bounds on the state that a read sees.
    pub(crate) freshness: Freshness,
    /// The sequence number of the call; allocated when the call starts unless set.
    pub(crate) number: Option<SequenceNumber>,
    /// Whether the write is idempotent: sent again, it has no further effect.
    pub(crate) repeatable: bool,
    /// Whether a server without a leader must refuse the call and end its stream.
    pub(crate) require_leader: bool,
}

impl Call {
    /// A short call that does not write.
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

    /// A short call that writes and takes no conditions: members, maintenance.
    pub(crate) fn write(timeout: Option<Duration>) -> Self {
        Self {
            operation: Operation::Write,
            ..Self::read(timeout)
        }
    }

    /// A short call that writes and carries these conditions, those of the client, and its sequence
    /// number in the session.
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

    /// Marks the call as opening a stream: the deadline covers the opening only and is not sent to
    /// the server.
    pub(crate) fn streaming(mut self) -> Self {
        self.announce = false;
        self
    }

    /// Makes a server without a leader refuse the call and end its stream. For streams on which
    /// silence means that nothing changed.
    pub(crate) fn require_leader(mut self) -> Self {
        self.require_leader = true;
        self
    }

    /// Marks the write as idempotent: it is repeated without a sequence number, and the answer to a
    /// repeat says nothing about earlier attempts, which the server does not remember.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Sets the deadline, in place of the client's.
    pub(crate) fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds these conditions to those of the client.
    pub(crate) fn with_conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = Some(conditions);
        self
    }

    /// Sets bounds on the state that a read sees.
    pub(crate) fn with_freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Sends the call with a sequence number that was allocated before: for a request that the
    /// caller itself repeats, as when a stream is resumed.
    pub(crate) fn with_number(mut self, number: Option<SequenceNumber>) -> Self {
        self.number = number;
        self
    }
}

/// Makes a call of a service and returns the message or the stream of the response: `rpc!(client,
/// call, LockClient.release(request)).await`.
macro_rules! rpc {
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
pub(crate) use rpc;

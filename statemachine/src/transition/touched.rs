//! Changes of claims that are not reconciled yet: data that the key space and claims leave here for
//! the layer above both.
//!
//! Invariant: empty before and after every command.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{
    outcome::EndCause,
    value::{KeyValue, LeaseId},
};

/// Why claims have ended, and whether their holder intended it: a lock delay and a will follow only
/// if it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndReason {
    pub(crate) cause: EndCause,
    pub(crate) is_clean: bool,
}

impl EndReason {
    pub(crate) const RELEASED: Self = Self::new(EndCause::Released);
    pub(crate) const WAIT_OVER: Self = Self::new(EndCause::WaitOver);
    pub(crate) const FORCED: Self = Self::new(EndCause::Forced);
    pub(crate) const EXPIRED: Self = Self::new(EndCause::LeaseEnded);
    /// The owner of the lease revoked it.
    pub(crate) const REVOKED: Self = Self {
        cause: EndCause::LeaseEnded,
        is_clean: true,
    };

    const fn new(cause: EndCause) -> Self {
        let is_clean = match cause {
            EndCause::Released | EndCause::WaitOver => true,
            EndCause::LeaseEnded | EndCause::Forced => false,
        };
        Self { cause, is_clean }
    }
}

/// A change of a key that stands for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Stored and attached to its lease; it may have existed before.
    Put(KeyValue),
    /// Deleted or detached from its lease; this was its record.
    Ended(KeyValue, EndReason),
}

impl Touched {
    /// Records that a key was deleted or detached from its lease. The value is dropped: a command
    /// may end ten thousand claims, and signals carry no values.
    pub(crate) fn ended(kv: &KeyValue, reason: EndReason) -> Self {
        let record = KeyValue {
            key: kv.key.clone(),
            value: Bytes::new(),
            ..*kv
        };
        Self::Ended(record, reason)
    }
}

/// A claim that has ended and may have a will.
#[derive(Debug)]
pub(crate) struct EndedClaim {
    pub(crate) lease: LeaseId,
    /// The key that stood for it.
    pub(crate) key: Bytes,
    /// Whether the claim held.
    pub(crate) held: bool,
    /// Whether its will runs; otherwise it is removed.
    pub(crate) runs_will: bool,
}

/// Changes that are not reconciled yet.
#[derive(Debug, Default)]
pub(crate) struct Unreconciled {
    /// Keys that stand for claims and were created, deleted or detached from their lease.
    pub(crate) touched: Vec<Touched>,
    /// Claims that have ended.
    pub(crate) ended: Vec<EndedClaim>,
    /// Names on which a waiting claim may be grantable.
    pub(crate) freed: BTreeSet<Bytes>,
}

impl Unreconciled {
    pub(crate) fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.ended.is_empty() && self.freed.is_empty()
    }
}

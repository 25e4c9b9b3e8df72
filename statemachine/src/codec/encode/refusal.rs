//! Refusals to bytes.

use bytes::Bytes;

use super::{Encoder, tag};
use crate::{
    error::{Refusal, StaleToken},
    limit::Limit,
};

impl Encoder {
    pub(super) fn refusal(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::KeyNotFound => self.byte(tag::REFUSED_KEY_NOT_FOUND),
            Refusal::LeaseNotFound => self.byte(tag::REFUSED_LEASE_NOT_FOUND),
            Refusal::LeaseExists => self.byte(tag::REFUSED_LEASE_EXISTS),
            Refusal::Compacted { floor } => {
                self.byte(tag::REFUSED_COMPACTED);
                self.revision(*floor);
            }
            Refusal::FutureRevision { latest } => {
                self.byte(tag::REFUSED_FUTURE_REVISION);
                self.revision(*latest);
            }
            Refusal::NoSpace => self.byte(tag::REFUSED_NO_SPACE),
            Refusal::Corrupt => self.byte(tag::REFUSED_CORRUPT),
            Refusal::GuardStale(stale) => self.stale(tag::REFUSED_GUARD_STALE, stale),
            Refusal::GuardMissing(missing) => {
                self.byte(tag::REFUSED_GUARD_MISSING);
                self.bytes(&missing.prefix);
                self.bytes(&missing.lock);
            }
            Refusal::NotHolder(stale) => self.stale(tag::REFUSED_NOT_HOLDER, stale),
            Refusal::AlreadyClaimed(name) => self.named(tag::REFUSED_ALREADY_CLAIMED, name),
            Refusal::PermitsDiffer(differ) => {
                self.named(tag::REFUSED_PERMITS_DIFFER, &differ.0);
                self.number(differ.1.into());
            }
            Refusal::QueueFull(name) => self.named(tag::REFUSED_QUEUE_FULL, name),
            Refusal::Deadlock(names) => {
                self.byte(tag::REFUSED_DEADLOCK);
                self.list(names, |out, name| out.bytes(name));
            }
            Refusal::QueueFixed(name) => self.named(tag::REFUSED_QUEUE_FIXED, name),
            Refusal::QueueTooLong(name) => self.named(tag::REFUSED_QUEUE_TOO_LONG, name),
            Refusal::CandidateUnknown(candidate) => {
                self.named(tag::REFUSED_CANDIDATE_UNKNOWN, &candidate.0);
                self.lease(candidate.1);
            }
            Refusal::SessionNotFound(session) => {
                self.byte(tag::REFUSED_SESSION_NOT_FOUND);
                self.lease(*session);
            }
            Refusal::RequestForgotten {
                sequence,
                forgotten,
            } => {
                self.byte(tag::REFUSED_REQUEST_FORGOTTEN);
                self.number(*sequence);
                self.number(*forgotten);
            }
            Refusal::AnswerTooLarge { revision } => {
                self.byte(tag::REFUSED_ANSWER_TOO_LARGE);
                self.revision(*revision);
            }
            Refusal::RequestDiffers => self.byte(tag::REFUSED_REQUEST_DIFFERS),
            Refusal::TooManyRequestKeys => self.byte(tag::REFUSED_TOO_MANY_REQUEST_KEYS),
            Refusal::InstanceReplaced { yours, current } => {
                self.byte(tag::REFUSED_INSTANCE_REPLACED);
                self.revision(*yours);
                self.revision(*current);
            }
            Refusal::InstanceNotFound => self.byte(tag::REFUSED_INSTANCE_NOT_FOUND),
            Refusal::PolicyNotFound => self.byte(tag::REFUSED_POLICY_NOT_FOUND),
            Refusal::TooManyPolicies => self.byte(tag::REFUSED_TOO_MANY_POLICIES),
            Refusal::NameReserved(name) => self.named(tag::REFUSED_NAME_RESERVED, name),
            Refusal::NotClaimed(name) => self.named(tag::REFUSED_NOT_CLAIMED, name),
            Refusal::TooManyRows { max } => {
                self.byte(tag::REFUSED_TOO_MANY_ROWS);
                self.number(*max);
            }
            Refusal::AnswerOverLimit { max } => {
                self.byte(tag::REFUSED_ANSWER_OVER_LIMIT);
                self.number(*max);
            }
            Refusal::LimitReached { limit, max } => {
                self.byte(tag::REFUSED_LIMIT_REACHED);
                self.limit(*limit);
                self.number(*max);
            }
            Refusal::EntryFull => self.byte(tag::REFUSED_ENTRY_FULL),
        }
    }

    fn limit(&mut self, limit: Limit) {
        self.byte(match limit {
            Limit::LeaseKeys => tag::LIMIT_LEASE_KEYS,
            Limit::LeaseWills => tag::LIMIT_LEASE_WILLS,
            Limit::WillBytes => tag::LIMIT_WILL_BYTES,
            Limit::SessionBytes => tag::LIMIT_SESSION_BYTES,
            Limit::Leases => tag::LIMIT_LEASES,
            Limit::Alarms => tag::LIMIT_ALARMS,
        });
    }

    fn named(&mut self, tag: u8, name: &Bytes) {
        self.byte(tag);
        self.bytes(name);
    }

    fn stale(&mut self, tag: u8, stale: &StaleToken) {
        self.byte(tag);
        self.bytes(&stale.name);
        self.revision(stale.yours);
        self.revision(stale.current);
    }
}

//! Bytes to refusals.

use super::{Decoder, refuse, tag};
use crate::{
    error::{Fault, MissingGuard, Refusal, StaleToken},
    limit::Limit,
};

impl Decoder {
    pub(super) fn refusal(&mut self) -> Result<Refusal, Fault> {
        Ok(match self.byte()? {
            tag::REFUSED_KEY_NOT_FOUND => Refusal::KeyNotFound,
            tag::REFUSED_LEASE_NOT_FOUND => Refusal::LeaseNotFound,
            tag::REFUSED_LEASE_EXISTS => Refusal::LeaseExists,
            tag::REFUSED_COMPACTED => Refusal::Compacted {
                floor: self.revision()?,
            },
            tag::REFUSED_FUTURE_REVISION => Refusal::FutureRevision {
                latest: self.revision()?,
            },
            tag::REFUSED_NO_SPACE => Refusal::NoSpace,
            tag::REFUSED_CORRUPT => Refusal::Corrupt,
            tag::REFUSED_GUARD_STALE => Refusal::GuardStale(Box::new(self.stale()?)),
            tag::REFUSED_GUARD_MISSING => Refusal::GuardMissing(Box::new(MissingGuard {
                prefix: self.bytes()?,
                lock: self.bytes()?,
            })),
            tag::REFUSED_NOT_HOLDER => Refusal::NotHolder(Box::new(self.stale()?)),
            tag::REFUSED_ALREADY_CLAIMED => Refusal::AlreadyClaimed(self.bytes()?),
            tag::REFUSED_PERMITS_DIFFER => {
                Refusal::PermitsDiffer(Box::new((self.bytes()?, self.small_number()?)))
            }
            tag::REFUSED_QUEUE_FULL => Refusal::QueueFull(self.bytes()?),
            tag::REFUSED_DEADLOCK => Refusal::Deadlock(self.list(Self::bytes)?),
            tag::REFUSED_QUEUE_FIXED => Refusal::QueueFixed(self.bytes()?),
            tag::REFUSED_CANDIDATE_UNKNOWN => {
                Refusal::CandidateUnknown(Box::new((self.bytes()?, self.lease()?)))
            }
            tag::REFUSED_SESSION_NOT_FOUND => Refusal::SessionNotFound(self.lease()?),
            tag::REFUSED_REQUEST_FORGOTTEN => Refusal::RequestForgotten {
                sequence: self.number()?,
                forgotten: self.number()?,
            },
            tag::REFUSED_ANSWER_TOO_LARGE => Refusal::AnswerTooLarge {
                revision: self.revision()?,
            },
            tag::REFUSED_REQUEST_DIFFERS => Refusal::RequestDiffers,
            tag::REFUSED_TOO_MANY_REQUEST_KEYS => Refusal::TooManyRequestKeys,
            tag::REFUSED_INSTANCE_REPLACED => Refusal::InstanceReplaced {
                yours: self.revision()?,
                current: self.revision()?,
            },
            tag::REFUSED_INSTANCE_NOT_FOUND => Refusal::InstanceNotFound,
            tag::REFUSED_POLICY_NOT_FOUND => Refusal::PolicyNotFound,
            tag::REFUSED_TOO_MANY_POLICIES => Refusal::TooManyPolicies,
            tag::REFUSED_NAME_RESERVED => Refusal::NameReserved(self.bytes()?),
            tag::REFUSED_QUEUE_TOO_LONG => Refusal::QueueTooLong(self.bytes()?),
            tag::REFUSED_NOT_CLAIMED => Refusal::NotClaimed(self.bytes()?),
            tag::REFUSED_TOO_MANY_ROWS => Refusal::TooManyRows {
                max: self.number()?,
            },
            tag::REFUSED_ANSWER_OVER_LIMIT => Refusal::AnswerOverLimit {
                max: self.number()?,
            },
            tag::REFUSED_LIMIT_REACHED => Refusal::LimitReached {
                limit: self.limit()?,
                max: self.number()?,
            },
            tag::REFUSED_ENTRY_FULL => Refusal::EntryFull,
            _ => return refuse("unknown refusal"),
        })
    }

    fn limit(&mut self) -> Result<Limit, Fault> {
        Ok(match self.byte()? {
            tag::LIMIT_LEASE_KEYS => Limit::LeaseKeys,
            tag::LIMIT_LEASE_WILLS => Limit::LeaseWills,
            tag::LIMIT_WILL_BYTES => Limit::WillBytes,
            tag::LIMIT_SESSION_BYTES => Limit::SessionBytes,
            tag::LIMIT_LEASES => Limit::Leases,
            tag::LIMIT_ALARMS => Limit::Alarms,
            _ => return refuse("unknown limit"),
        })
    }

    fn stale(&mut self) -> Result<StaleToken, Fault> {
        Ok(StaleToken {
            name: self.bytes()?,
            yours: self.revision()?,
            current: self.revision()?,
        })
    }
}

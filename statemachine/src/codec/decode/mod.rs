//! Bytes to commands and outcomes. Keys and values are slices of the input.
//!
//! Invariant: whatever the bytes are, decoding ends, allocates in proportion to them, and either
//! yields what was encoded or a fault. Bytes left over, unknown tags and flags, and numbers in more
//! bytes than they need are faults: one command has one encoding.

mod check;
mod claim;
mod condition;
mod refusal;
mod registry;
mod reply;
mod txn;

use bytes::{Buf, Bytes};

pub(crate) use self::condition::decode_will;
pub use self::{
    check::{check_entry, check_group},
    reply::decode_outcome,
};
use super::{
    ENTRY_BYTES_MAX, ENTRY_VERSION, Entry, GROUP_VERSION, Group, MEMBER_VERSION, OUTCOME_VERSION,
    REPEATABLE_GROUP_VERSION, RESERVE_MAX, TXN_DEPTH_MAX, WILL_VERSION, tag,
};
use crate::{
    command::{AlarmChange, AlarmKind, Command, LeaseExpiry, LeaseGrant, MemberAttributes},
    error::Fault,
    feature::FeatureLevel,
    types::{ClusterTime, LeaseId, MemberId, Revision, Ttl},
};

/// Decodes what a log entry carries.
///
/// # Errors
/// [`Fault::Command`] when the bytes are not such an entry.
pub fn decode_entry(bytes: Bytes) -> Result<Entry, Fault> {
    let mut input = Decoder::new(bytes)?;
    input.version(ENTRY_VERSION)?;
    let now = ClusterTime(input.number()?);
    let groups = input.list(|input| decode_group(input.bytes()?))?;
    input.end()?;
    Ok(Entry { now, groups })
}

/// Decodes the commands one node took.
///
/// # Errors
/// [`Fault::Command`] when the bytes are not such a group.
pub fn decode_group(bytes: Bytes) -> Result<Group, Fault> {
    let mut input = Decoder::new(bytes)?;
    let (origin, sequence, since) = input.group_head()?;
    let commands = input.list(Decoder::command)?;
    input.end()?;
    Ok(Group {
        origin,
        sequence,
        since,
        commands,
    })
}

/// Decodes what a member says of itself.
pub(crate) fn decode_member(bytes: Bytes) -> Result<MemberAttributes, Fault> {
    let mut input = Decoder::new(bytes)?;
    input.version(MEMBER_VERSION)?;
    let attributes = input.member()?;
    input.end()?;
    Ok(attributes)
}

fn refuse<T>(what: &str) -> Result<T, Fault> {
    Err(Fault::Command(what.to_owned()))
}

struct Decoder(Bytes);

impl Decoder {
    fn new(bytes: Bytes) -> Result<Self, Fault> {
        if bytes.len() > ENTRY_BYTES_MAX {
            refuse("too long")
        } else {
            Ok(Self(bytes))
        }
    }

    fn version(&mut self, known: u8) -> Result<(), Fault> {
        if self.byte()? == known {
            Ok(())
        } else {
            refuse("unknown version")
        }
    }

    /// Where a group is from, which it is there, and since when it may have been applied.
    fn group_head(&mut self) -> Result<(u64, u64, Option<u64>), Fault> {
        let repeatable = match self.byte()? {
            GROUP_VERSION => false,
            REPEATABLE_GROUP_VERSION => true,
            _ => return refuse("unknown version"),
        };
        let (origin, sequence) = (self.number()?, self.number()?);
        let since = repeatable.then(|| self.number()).transpose()?;
        Ok((origin, sequence, since))
    }

    fn end(&self) -> Result<(), Fault> {
        if self.0.is_empty() {
            Ok(())
        } else {
            refuse("bytes left over")
        }
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        if self.0.has_remaining() {
            Ok(self.0.get_u8())
        } else {
            refuse("cut short")
        }
    }

    fn number(&mut self) -> Result<u64, Fault> {
        let mut number = 0_u64;
        for shift in (0..64_u32).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if low.leading_zeros() < shift {
                return refuse("number is too large");
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                let minimal = byte != 0 || shift == 0;
                return if minimal {
                    Ok(number)
                } else {
                    refuse("number is too long")
                };
            }
        }
        refuse("number is too long")
    }

    fn signed(&mut self) -> Result<i64, Fault> {
        let zigzag = self.number()?;
        let sign = if zigzag & 1 == 0 { 0 } else { -1 };
        Ok((zigzag >> 1).cast_signed() ^ sign)
    }

    fn revision(&mut self) -> Result<Revision, Fault> {
        self.signed().map(Revision)
    }

    fn lease(&mut self) -> Result<LeaseId, Fault> {
        self.signed().map(LeaseId)
    }

    fn ttl(&mut self) -> Result<Ttl, Fault> {
        self.number().map(Ttl)
    }

    fn small_number(&mut self) -> Result<u32, Fault> {
        u32::try_from(self.number()?).or_else(|_| refuse("number is too large"))
    }

    fn yes_or_no(&mut self) -> Result<bool, Fault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => refuse("neither yes nor no"),
        }
    }

    fn length(&mut self) -> Result<usize, Fault> {
        match usize::try_from(self.number()?) {
            // Everything counted takes at least a byte.
            Ok(length) if length <= self.0.remaining() => Ok(length),
            _ => refuse("cut short"),
        }
    }

    fn bytes(&mut self) -> Result<Bytes, Fault> {
        let length = self.length()?;
        Ok(self.0.split_to(length))
    }

    fn text(&mut self) -> Result<String, Fault> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec()).or_else(|_| refuse("text is not UTF-8"))
    }

    fn flags(&mut self, known: u8) -> Result<u8, Fault> {
        let flags = self.byte()?;
        if flags & !known == 0 {
            Ok(flags)
        } else {
            refuse("unknown flag")
        }
    }

    fn option<T>(
        &mut self,
        decode: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        match self.byte()? {
            tag::ABSENT => Ok(None),
            tag::PRESENT => decode(self).map(Some),
            _ => refuse("neither there nor left out"),
        }
    }

    fn list<T>(
        &mut self,
        mut decode: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let count = self.length()?;
        let mut items = Vec::with_capacity(count.min(RESERVE_MAX));
        for _ in 0..count {
            items.push(decode(self)?);
        }
        Ok(items)
    }

    fn command(&mut self) -> Result<Command, Fault> {
        let tag = self.byte()?;
        match tag {
            tag::CONDITIONAL => Ok(Command::Conditional(Box::new(self.conditional()?))),
            _ => self.plain_command(tag),
        }
    }

    /// A command that is not conditional, by its tag.
    fn plain_command(&mut self, tag: u8) -> Result<Command, Fault> {
        Ok(match tag {
            tag::PUT => Command::Put(self.put()?),
            tag::DELETE_RANGE => Command::DeleteRange(self.delete_range()?),
            tag::TXN => Command::Txn(self.txn(TXN_DEPTH_MAX)?),
            tag::COMPACT => Command::Compact(self.revision()?),
            tag::LEASE_GRANT => Command::LeaseGrant(LeaseGrant {
                id: self.lease()?,
                ttl: self.ttl()?,
            }),
            tag::LEASE_REVOKE => Command::LeaseRevoke(self.lease()?),
            tag::LEASE_RENEW => Command::LeaseRenew(self.list(Self::lease)?),
            tag::LEASE_EXPIRE => Command::LeaseExpire(self.list(|input| {
                Ok(LeaseExpiry {
                    id: input.lease()?,
                    generation: input.number()?,
                    term: input.number()?,
                })
            })?),
            tag::ALARM => Command::Alarm(self.alarm()?),
            tag::MEMBER_PUBLISH => Command::MemberPublish(self.member()?),
            tag::CLAIM => Command::Claim(self.claim_command()?),
            tag::REGISTRY => Command::Registry(self.registry_command()?),
            tag::SESSION_OPEN => Command::SessionOpen(self.session_open()?),
            tag::FENCE => Command::Fence(self.fence_command()?),
            tag::WILL_SET => Command::WillSet(self.will_set()?),
            tag::WAKE => Command::Wake,
            tag::RAISE_LEVEL => Command::RaiseLevel(self.level()?),
            tag::CONDITIONAL => return refuse("a condition within a condition"),
            tag => return Err(Fault::UnknownCommand { tag }),
        })
    }

    fn level(&mut self) -> Result<FeatureLevel, Fault> {
        let level = u16::try_from(self.number()?).or_else(|_| refuse("number is too large"))?;
        Ok(FeatureLevel(level))
    }

    fn alarm(&mut self) -> Result<AlarmChange, Fault> {
        let member = MemberId(self.number()?);
        let kind = self.alarm_kind()?;
        let active = self.yes_or_no()?;
        Ok(AlarmChange {
            member,
            kind,
            active,
        })
    }

    fn alarm_kind(&mut self) -> Result<Option<AlarmKind>, Fault> {
        Ok(match self.byte()? {
            tag::ALARM_ANY => None,
            tag::ALARM_NO_SPACE => Some(AlarmKind::NoSpace),
            tag::ALARM_CORRUPT => Some(AlarmKind::Corrupt),
            _ => return refuse("unknown alarm"),
        })
    }

    fn member(&mut self) -> Result<MemberAttributes, Fault> {
        Ok(MemberAttributes {
            id: MemberId(self.number()?),
            name: self.text()?,
            client_urls: self.list(Self::text)?,
        })
    }
}

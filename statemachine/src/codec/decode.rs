//! Bytes to commands. Keys and values are slices of the input.
//!
//! Invariant: whatever the bytes are, decoding ends, allocates in proportion to them, and either
//! yields what was encoded or a fault. Bytes left over, unknown tags and flags, and numbers in more
//! bytes than they need are faults: one command has one encoding.

use bytes::{Buf, Bytes};

use super::{
    ENTRY_BYTES_MAX, ENTRY_VERSION, Entry, GROUP_VERSION, Group, MEMBER_VERSION, RESERVE_MAX,
    TXN_DEPTH_MAX, tag,
};
use crate::{
    command::{
        AlarmChange, AlarmKind, Command, Compare, DeleteRange, LeaseExpiry, LeaseGrant,
        MemberAttributes, Operand, Put, RangeQuery, Relation, SortOrder, SortTarget, Txn, TxnOp,
    },
    error::Fault,
    range::{KeyRange, RangeEnd},
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
    input.version(GROUP_VERSION)?;
    let origin = input.number()?;
    let sequence = input.number()?;
    let commands = input.list(Decoder::command)?;
    input.end()?;
    Ok(Group {
        origin,
        sequence,
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
        Ok(match self.byte()? {
            tag::PUT => Command::Put(self.put()?),
            tag::DELETE_RANGE => Command::DeleteRange(self.delete_range()?),
            tag::TXN => Command::Txn(self.txn(TXN_DEPTH_MAX)?),
            tag::COMPACT => Command::Compact(self.revision()?),
            tag::LEASE_GRANT => Command::LeaseGrant(LeaseGrant {
                id: self.lease()?,
                ttl: Ttl(self.number()?),
            }),
            tag::LEASE_REVOKE => Command::LeaseRevoke(self.lease()?),
            tag::LEASE_RENEW => Command::LeaseRenew(self.list(Self::lease)?),
            tag::LEASE_EXPIRE => Command::LeaseExpire(self.list(|input| {
                Ok(LeaseExpiry {
                    id: input.lease()?,
                    generation: input.number()?,
                })
            })?),
            tag::ALARM => Command::Alarm(self.alarm()?),
            tag::MEMBER_PUBLISH => Command::MemberPublish(self.member()?),
            _ => return refuse("unknown command"),
        })
    }

    fn put(&mut self) -> Result<Put, Fault> {
        let flags =
            self.flags(tag::FLAG_WANT_PREVIOUS | tag::FLAG_IGNORE_VALUE | tag::FLAG_IGNORE_LEASE)?;
        Ok(Put {
            key: self.bytes()?,
            value: self.bytes()?,
            lease: self.lease()?,
            want_previous: flags & tag::FLAG_WANT_PREVIOUS != 0,
            ignore_value: flags & tag::FLAG_IGNORE_VALUE != 0,
            ignore_lease: flags & tag::FLAG_IGNORE_LEASE != 0,
        })
    }

    fn delete_range(&mut self) -> Result<DeleteRange, Fault> {
        let flags = self.flags(tag::FLAG_WANT_PREVIOUS)?;
        let want_previous = flags & tag::FLAG_WANT_PREVIOUS != 0;
        Ok(DeleteRange {
            range: self.range()?,
            want_previous,
        })
    }

    fn range(&mut self) -> Result<KeyRange, Fault> {
        let start = self.bytes()?;
        let end = match self.byte()? {
            tag::END_SINGLE => RangeEnd::Single,
            tag::END_BEFORE => RangeEnd::Before(self.bytes()?),
            tag::END_UNBOUNDED => RangeEnd::Unbounded,
            _ => return refuse("unknown range end"),
        };
        Ok(KeyRange { start, end })
    }

    fn query(&mut self) -> Result<RangeQuery, Fault> {
        let flags = self.flags(tag::FLAG_KEYS_ONLY | tag::FLAG_COUNT_ONLY | tag::FLAG_FILTERS)?;
        let mut query = RangeQuery::latest(self.range()?);
        query.keys_only = flags & tag::FLAG_KEYS_ONLY != 0;
        query.count_only = flags & tag::FLAG_COUNT_ONLY != 0;
        query.limit = self.signed()?;
        query.revision = self.revision()?;
        query.sort_order = match self.byte()? {
            0 => SortOrder::None,
            1 => SortOrder::Ascend,
            2 => SortOrder::Descend,
            _ => return refuse("unknown sort order"),
        };
        query.sort_target = match self.byte()? {
            0 => SortTarget::Key,
            1 => SortTarget::Version,
            2 => SortTarget::Create,
            3 => SortTarget::Mod,
            4 => SortTarget::Value,
            _ => return refuse("unknown sort target"),
        };
        if flags & tag::FLAG_FILTERS != 0 {
            query.min_mod_revision = self.revision()?;
            query.max_mod_revision = self.revision()?;
            query.min_create_revision = self.revision()?;
            query.max_create_revision = self.revision()?;
        }
        Ok(query)
    }

    /// `depth` is how many transactions may lie within each other from here on, this one included.
    fn txn(&mut self, depth: usize) -> Result<Txn, Fault> {
        let Some(within) = depth.checked_sub(1) else {
            return refuse("nested too deep");
        };
        Ok(Txn {
            compare: self.list(Self::compare)?,
            success: self.list(|input| input.txn_op(within))?,
            failure: self.list(|input| input.txn_op(within))?,
        })
    }

    fn txn_op(&mut self, depth: usize) -> Result<TxnOp, Fault> {
        Ok(match self.byte()? {
            tag::OP_RANGE => TxnOp::Range(self.query()?),
            tag::OP_PUT => TxnOp::Put(self.put()?),
            tag::OP_DELETE_RANGE => TxnOp::DeleteRange(self.delete_range()?),
            tag::OP_TXN => TxnOp::Txn(self.txn(depth)?),
            _ => return refuse("unknown operation"),
        })
    }

    fn compare(&mut self) -> Result<Compare, Fault> {
        let range = self.range()?;
        let relation = match self.byte()? {
            0 => Relation::Equal,
            1 => Relation::Greater,
            2 => Relation::Less,
            3 => Relation::NotEqual,
            _ => return refuse("unknown relation"),
        };
        let operand = match self.byte()? {
            tag::OPERAND_VERSION => Operand::Version(self.signed()?),
            tag::OPERAND_CREATE => Operand::Create(self.revision()?),
            tag::OPERAND_MOD => Operand::Mod(self.revision()?),
            tag::OPERAND_VALUE => Operand::Value(self.bytes()?),
            tag::OPERAND_LEASE => Operand::Lease(self.lease()?),
            _ => return refuse("unknown operand"),
        };
        Ok(Compare {
            range,
            relation,
            operand,
        })
    }

    fn alarm(&mut self) -> Result<AlarmChange, Fault> {
        let member = MemberId(self.number()?);
        let kind = match self.byte()? {
            tag::ALARM_ANY => None,
            tag::ALARM_NO_SPACE => Some(AlarmKind::NoSpace),
            tag::ALARM_CORRUPT => Some(AlarmKind::Corrupt),
            _ => return refuse("unknown alarm"),
        };
        let active = match self.byte()? {
            0 => false,
            1 => true,
            _ => return refuse("unknown alarm action"),
        };
        Ok(AlarmChange {
            member,
            kind,
            active,
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

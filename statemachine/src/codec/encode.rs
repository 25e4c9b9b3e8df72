//! Commands to bytes.
//!
//! Not concerned with limits: the border keeps requests small before they become commands.
//! Invariant: one command has one encoding.

use bytes::{BufMut, Bytes, BytesMut};

use super::{ENTRY_VERSION, GROUP_VERSION, MEMBER_VERSION, tag};
use crate::{
    command::{
        AlarmChange, AlarmKind, Command, Compare, DeleteRange, MemberAttributes, Operand, Put,
        RangeQuery, Relation, SortOrder, SortTarget, Txn, TxnOp,
    },
    range::{KeyRange, RangeEnd},
    types::{ClusterTime, Revision},
};

/// Encodes the commands one node took. `origin` and `sequence` let that node know them again.
#[must_use]
pub fn encode_group(origin: u64, sequence: u64, commands: &[Command]) -> Bytes {
    let mut out = Encoder(BytesMut::new());
    out.byte(GROUP_VERSION);
    out.number(origin);
    out.number(sequence);
    out.list(commands, Encoder::command);
    out.0.freeze()
}

/// Encodes what one log entry carries: groups as they are, under the leader's stamp.
#[must_use]
pub fn encode_entry(now: ClusterTime, groups: &[Bytes]) -> Bytes {
    // Stamp, count and lengths take at most ten bytes each.
    let headers = groups.len().saturating_add(3).saturating_mul(10);
    let length = groups
        .iter()
        .map(Bytes::len)
        .fold(headers, usize::saturating_add);
    let mut out = Encoder(BytesMut::with_capacity(length));
    out.byte(ENTRY_VERSION);
    out.number(now.0);
    out.list(groups, |out, group| out.bytes(group));
    out.0.freeze()
}

/// Encodes what a member says of itself, as its `Cluster` row holds it.
pub(crate) fn encode_member(attributes: &MemberAttributes) -> Bytes {
    let mut out = Encoder(BytesMut::new());
    out.byte(MEMBER_VERSION);
    out.member(attributes);
    out.0.freeze()
}

struct Encoder(BytesMut);

impl Encoder {
    fn byte(&mut self, byte: u8) {
        self.0.put_u8(byte);
    }

    fn number(&mut self, mut number: u64) {
        loop {
            let low = number.to_le_bytes().first().copied().unwrap_or(0) & 0x7f;
            number >>= 7;
            if number == 0 {
                return self.byte(low);
            }
            self.byte(low | 0x80);
        }
    }

    fn signed(&mut self, number: i64) {
        let zigzag = number.wrapping_shl(1) ^ (number >> 63);
        self.number(zigzag.cast_unsigned());
    }

    fn revision(&mut self, revision: Revision) {
        self.signed(revision.0);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.put_slice(bytes);
    }

    fn list<T>(&mut self, items: &[T], mut encode: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            encode(self, item);
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Put(put) => {
                self.byte(tag::PUT);
                self.put(put);
            }
            Command::DeleteRange(delete) => {
                self.byte(tag::DELETE_RANGE);
                self.delete_range(delete);
            }
            Command::Txn(txn) => {
                self.byte(tag::TXN);
                self.txn(txn);
            }
            Command::Compact(revision) => {
                self.byte(tag::COMPACT);
                self.revision(*revision);
            }
            Command::LeaseGrant(grant) => {
                self.byte(tag::LEASE_GRANT);
                self.signed(grant.id.0);
                self.number(grant.ttl.0);
            }
            Command::LeaseRevoke(id) => {
                self.byte(tag::LEASE_REVOKE);
                self.signed(id.0);
            }
            Command::LeaseRenew(ids) => {
                self.byte(tag::LEASE_RENEW);
                self.list(ids, |out, id| out.signed(id.0));
            }
            Command::LeaseExpire(expiries) => {
                self.byte(tag::LEASE_EXPIRE);
                self.list(expiries, |out, expiry| {
                    out.signed(expiry.id.0);
                    out.number(expiry.generation);
                });
            }
            Command::Alarm(change) => {
                self.byte(tag::ALARM);
                self.alarm(*change);
            }
            Command::MemberPublish(attributes) => {
                self.byte(tag::MEMBER_PUBLISH);
                self.member(attributes);
            }
        }
    }

    fn put(&mut self, put: &Put) {
        self.byte(flags(&[
            (put.want_previous, tag::FLAG_WANT_PREVIOUS),
            (put.ignore_value, tag::FLAG_IGNORE_VALUE),
            (put.ignore_lease, tag::FLAG_IGNORE_LEASE),
        ]));
        self.bytes(&put.key);
        self.bytes(&put.value);
        self.signed(put.lease.0);
    }

    fn delete_range(&mut self, delete: &DeleteRange) {
        self.byte(flags(&[(delete.want_previous, tag::FLAG_WANT_PREVIOUS)]));
        self.range(&delete.range);
    }

    fn range(&mut self, range: &KeyRange) {
        self.bytes(&range.start);
        match &range.end {
            RangeEnd::Single => self.byte(tag::END_SINGLE),
            RangeEnd::Before(end) => {
                self.byte(tag::END_BEFORE);
                self.bytes(end);
            }
            RangeEnd::Unbounded => self.byte(tag::END_UNBOUNDED),
        }
    }

    fn query(&mut self, query: &RangeQuery) {
        let filters = [
            query.min_mod_revision,
            query.max_mod_revision,
            query.min_create_revision,
            query.max_create_revision,
        ];
        let has_filters = filters != [Revision(0); 4];
        self.byte(flags(&[
            (query.keys_only, tag::FLAG_KEYS_ONLY),
            (query.count_only, tag::FLAG_COUNT_ONLY),
            (has_filters, tag::FLAG_FILTERS),
        ]));
        self.range(&query.range);
        self.signed(query.limit);
        self.revision(query.revision);
        self.byte(match query.sort_order {
            SortOrder::None => 0,
            SortOrder::Ascend => 1,
            SortOrder::Descend => 2,
        });
        self.byte(match query.sort_target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
        });
        if has_filters {
            for filter in filters {
                self.revision(filter);
            }
        }
    }

    fn txn(&mut self, txn: &Txn) {
        self.list(&txn.compare, Self::compare);
        self.list(&txn.success, Self::txn_op);
        self.list(&txn.failure, Self::txn_op);
    }

    fn txn_op(&mut self, op: &TxnOp) {
        match op {
            TxnOp::Range(query) => {
                self.byte(tag::OP_RANGE);
                self.query(query);
            }
            TxnOp::Put(put) => {
                self.byte(tag::OP_PUT);
                self.put(put);
            }
            TxnOp::DeleteRange(delete) => {
                self.byte(tag::OP_DELETE_RANGE);
                self.delete_range(delete);
            }
            TxnOp::Txn(txn) => {
                self.byte(tag::OP_TXN);
                self.txn(txn);
            }
        }
    }

    fn compare(&mut self, compare: &Compare) {
        self.range(&compare.range);
        self.byte(match compare.relation {
            Relation::Equal => 0,
            Relation::Greater => 1,
            Relation::Less => 2,
            Relation::NotEqual => 3,
        });
        match &compare.operand {
            Operand::Version(version) => {
                self.byte(tag::OPERAND_VERSION);
                self.signed(*version);
            }
            Operand::Create(revision) => {
                self.byte(tag::OPERAND_CREATE);
                self.revision(*revision);
            }
            Operand::Mod(revision) => {
                self.byte(tag::OPERAND_MOD);
                self.revision(*revision);
            }
            Operand::Value(value) => {
                self.byte(tag::OPERAND_VALUE);
                self.bytes(value);
            }
            Operand::Lease(lease) => {
                self.byte(tag::OPERAND_LEASE);
                self.signed(lease.0);
            }
        }
    }

    fn alarm(&mut self, change: AlarmChange) {
        self.number(change.member.0);
        self.byte(match change.kind {
            None => tag::ALARM_ANY,
            Some(AlarmKind::NoSpace) => tag::ALARM_NO_SPACE,
            Some(AlarmKind::Corrupt) => tag::ALARM_CORRUPT,
        });
        self.byte(u8::from(change.active));
    }

    fn member(&mut self, attributes: &MemberAttributes) {
        self.number(attributes.id.0);
        self.bytes(attributes.name.as_bytes());
        self.list(&attributes.client_urls, |out, url| {
            out.bytes(url.as_bytes())
        });
    }
}

fn flags(bits: &[(bool, u8)]) -> u8 {
    bits.iter()
        .filter(|(set, _)| *set)
        .fold(0, |flags, (_, bit)| flags | bit)
}

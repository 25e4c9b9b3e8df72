//! Commands and outcomes to bytes.
//!
//! Not concerned with limits: the border keeps requests small before they become commands.
//! Invariant: one command has one encoding.

mod claim;
mod condition;
mod refusal;
mod registry;
mod reply;
mod txn;

use bytes::{BufMut, Bytes, BytesMut};

pub(crate) use self::condition::{encode_request, encode_will};
pub use self::reply::encode_outcome;
use super::{
    ENTRY_VERSION, GROUP_VERSION, MEMBER_VERSION, OUTCOME_VERSION, REPEATABLE_GROUP_VERSION,
    WILL_VERSION, tag,
};
use crate::{
    command::{AlarmChange, AlarmKind, Command, MemberAttributes},
    types::{ClusterTime, LeaseId, Revision, Ttl},
};

/// Encodes the commands one node took. `origin` and `sequence` let that node know them again.
#[must_use]
pub fn encode_group(origin: u64, sequence: u64, commands: &[Command]) -> Bytes {
    let mut out = Encoder::new();
    out.byte(GROUP_VERSION);
    out.number(origin);
    out.number(sequence);
    out.list(commands, Encoder::command);
    out.out.freeze()
}

/// Encodes the commands one node took, as a group that takes effect once however often it is
/// proposed. `since` is an index that the node has applied.
///
/// Older versions cannot read it: below [`crate::FeatureLevel::REPEATABLE_GROUPS`] it must not be
/// proposed.
#[must_use]
pub fn encode_repeatable_group(
    origin: u64,
    sequence: u64,
    since: u64,
    commands: &[Command],
) -> Bytes {
    let mut out = Encoder::new();
    out.byte(REPEATABLE_GROUP_VERSION);
    out.number(origin);
    out.number(sequence);
    out.number(since);
    out.list(commands, Encoder::command);
    out.out.freeze()
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
    let mut out = Encoder::with_capacity(length);
    out.byte(ENTRY_VERSION);
    out.number(now.0);
    out.list(groups, |out, group| out.bytes(group));
    out.out.freeze()
}

/// Encodes what a member says of itself, as its `Cluster` row holds it.
pub(crate) fn encode_member(attributes: &MemberAttributes) -> Bytes {
    let mut out = Encoder::new();
    out.byte(MEMBER_VERSION);
    out.member(attributes);
    out.out.freeze()
}

struct Encoder {
    out: BytesMut,
    /// Elements of lists beyond this length are left out: the result is thrown away then.
    enough: usize,
}

impl Encoder {
    fn new() -> Self {
        Self::with_capacity(0)
    }

    fn with_capacity(bytes: usize) -> Self {
        Self {
            out: BytesMut::with_capacity(bytes),
            enough: usize::MAX,
        }
    }

    fn byte(&mut self, byte: u8) {
        self.out.put_u8(byte);
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

    fn lease(&mut self, id: LeaseId) {
        self.signed(id.0);
    }

    fn ttl(&mut self, ttl: Ttl) {
        self.number(ttl.0);
    }

    fn yes_or_no(&mut self, yes: bool) {
        self.byte(u8::from(yes));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.out.put_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn option<T>(&mut self, option: Option<T>, encode: impl FnOnce(&mut Self, T)) {
        match option {
            None => self.byte(tag::ABSENT),
            Some(value) => {
                self.byte(tag::PRESENT);
                encode(self, value);
            }
        }
    }

    fn list<T>(&mut self, items: &[T], mut encode: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            if self.out.len() > self.enough {
                return;
            }
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
                    out.number(expiry.term);
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
            Command::Conditional(conditional) => {
                self.byte(tag::CONDITIONAL);
                self.conditional(conditional);
            }
            Command::Claim(command) => {
                self.byte(tag::CLAIM);
                self.claim_command(command);
            }
            Command::Registry(command) => {
                self.byte(tag::REGISTRY);
                self.registry_command(command);
            }
            Command::SessionOpen(open) => {
                self.byte(tag::SESSION_OPEN);
                self.session_open(*open);
            }
            Command::Fence(command) => {
                self.byte(tag::FENCE);
                self.fence_command(command);
            }
            Command::WillSet(set) => {
                self.byte(tag::WILL_SET);
                self.will_set(set);
            }
            Command::Wake => self.byte(tag::WAKE),
            Command::RaiseLevel(level) => {
                self.byte(tag::RAISE_LEVEL);
                self.number(level.0.into());
            }
        }
    }

    fn alarm(&mut self, change: AlarmChange) {
        self.number(change.member.0);
        self.alarm_kind(change.kind);
        self.yes_or_no(change.active);
    }

    fn alarm_kind(&mut self, kind: Option<AlarmKind>) {
        self.byte(match kind {
            None => tag::ALARM_ANY,
            Some(AlarmKind::NoSpace) => tag::ALARM_NO_SPACE,
            Some(AlarmKind::Corrupt) => tag::ALARM_CORRUPT,
        });
    }

    fn member(&mut self, attributes: &MemberAttributes) {
        self.number(attributes.id.0);
        self.text(&attributes.name);
        self.list(&attributes.client_urls, |out, url| out.text(url));
    }
}

fn flags(bits: &[(bool, u8)]) -> u8 {
    bits.iter()
        .filter(|(set, _)| *set)
        .fold(0, |flags, (_, bit)| flags | bit)
}

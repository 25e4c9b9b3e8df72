//! Every row of every table: shape, order, lifetime. The values of `Current` and `History` rows
//! are in `rows/record.rs`, the counters' row in `meta/counters.rs`.
//!
//! | table | row key | row value | lives |
//! |---|---|---|---|
//! | `Current` | key | main, sub, create, version, lease (BE64 each), value | while the key does |
//! | `History` | BE64 main, `_`, BE64 sub, `t` if dead | `mvccpb.KeyValue` | until collected |
//! | `Versions` | escaped key, inverted BE64 main and sub | 0 put, 1 tombstone | as `History` |
//! | `Leases` | ordered BE64 lease | see `lease.rs` | until the lease ends |
//! | `LeaseKeys` | ordered BE64 lease, key | empty | while attached |
//! | `Cluster` | `A`, BE64 member, kind | empty | until the alarm is cleared |
//! | `Cluster` | `M`, BE64 member | attributes | for ever |
//! | `Cluster` | `B`, 0, service | see `registry/mass_expiry_row.rs` | while a service is held |
//! | `Cluster` | `B`, 1, service | see `registry/mass_expiry_row.rs` | while expiries are counted |
//! | `Cluster` | `C`, escaped name | see `claims/summary.rs` | while there are claims on it |
//! | `Cluster` | `C`, escaped name, BE64 token, key | see `claims/row.rs` | as long as the key |
//! | `Cluster` | `D`, name | BE64 cluster time | until the lock delay is over |
//! | `Cluster` | `E` | see `access/rows.rs` | for ever |
//! | `Cluster` | `F`, prefix | name of a lock | until the fence policy is removed |
//! | `Cluster` | `G`, key | see `registry/drain.rs` | until a drain is over |
//! | `Cluster` | `H`, ordered BE64 lease | see `access/owned.rs` | as long as the session |
//! | `Cluster` | `I`, idempotency key | outcome, see `once/` | until forgotten |
//! | `Cluster` | `J` | the secret of tokens | while authentication is enabled |
//! | `Cluster` | `K`, BE64 client | see `once/share.rs` | while the client has keys |
//! | `Cluster` | `L`, BE32 length, idempotency key, its user | as `I` | until forgotten |
//! | `Cluster` | `N` | see `once/key.rs` | for ever |
//! | `Cluster` | `O` | see `origin.rs` | for ever |
//! | `Cluster` | `O`, BE64 origin | see `origin.rs` | until evicted |
//! | `Cluster` | `P`, name of a user | see `access/rows.rs` | until deleted |
//! | `Cluster` | `Q`, name of a role | see `access/rows.rs` | until deleted |
//! | `Cluster` | `R`, ordered BE64 lease, BE64 sequence | outcome, see `once/` | until forgotten |
//! | `Cluster` | `S`, ordered BE64 lease | see `once/` | until the session ends |
//! | `Cluster` | `T`, BE64 time, timer | empty | until done |
//! | `Cluster` | `U` | see `meta/totals.rs` | for ever |
//! | `Cluster` | `W`, ordered BE64 lease, key of a claim or nothing | a will | until it runs |
//! | `Meta` | one ordinal byte | see [`MetaRow`] | for ever |
//!
//! Invariant: byte order is the logical order. Ordinals and letters are stored and never reused.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    error::{Fault, damaged},
    rows::Family,
    value::{AlarmKind, LeaseId, MemberId, Revision},
};

/// Ends an escaped key. Less than every escaped byte, so that a key sorts before its extensions.
pub(crate) const KEY_END: [u8; 2] = [0, 0];
/// The smallest suffix above every `Versions` row of the key that it is appended to.
const KEY_AFTER: [u8; 2] = [0, 1];
/// Follows a zero byte that belongs to the key.
const ZERO_ESCAPE: u8 = 0xff;
/// Length of the two inverted revisions at the end of a `Versions` row.
const STAMP_LEN: usize = 16;
/// Separates main from sub revision in etcd's revision key.
const STAMP_SEPARATOR: u8 = b'_';
/// Marks a tombstone in etcd's revision key.
const TOMBSTONE_MARK: u8 = b't';
/// Rows of `Table::Meta`.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum MetaRow {
    /// The machine's counters; replicated.
    Counters = 0,
    /// The record of the log's adapter, stored beside the data; opaque.
    Adapter = 1,
    /// The progress of collection on this node; not replicated.
    Collection = 2,
    /// The last compactions, each with the floor before it; replicated.
    Compactions = 3,
    /// The hash at the revision of each, computed on this node; not replicated.
    CompactionHashes = 4,
}

impl MetaRow {
    pub(crate) const fn key(self) -> &'static [u8] {
        match self {
            Self::Counters => &[0],
            Self::Adapter => &[1],
            Self::Collection => &[2],
            Self::Compactions => &[3],
            Self::CompactionHashes => &[4],
        }
    }
}

/// The position of a change in history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) main: Revision,
    pub(crate) sub: i64,
}

impl Stamp {
    /// Returns the first possible change of a revision.
    pub(crate) const fn first_of(main: Revision) -> Self {
        Self { main, sub: 0 }
    }

    /// Returns the last possible change of a revision.
    pub(crate) const fn last_of(main: Revision) -> Self {
        Self {
            main,
            sub: i64::MAX,
        }
    }
}

/// What kind of change a history row records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Put,
    Tombstone,
}

impl ChangeKind {
    pub(crate) const fn row_value(self) -> &'static [u8] {
        match self {
            Self::Put => &[0],
            Self::Tombstone => &[1],
        }
    }

    pub(crate) fn from_row_value(bytes: &[u8]) -> Result<Self, Fault> {
        match bytes {
            [0] => Ok(Self::Put),
            [1] => Ok(Self::Tombstone),
            _ => Err(damaged("versions row has an unknown kind")),
        }
    }
}

/// Returns etcd's revision key.
pub(crate) fn history(stamp: Stamp, kind: ChangeKind) -> Bytes {
    let mut row = BytesMut::with_capacity(18);
    row.put_i64(stamp.main.0);
    row.put_u8(STAMP_SEPARATOR);
    row.put_i64(stamp.sub);
    match kind {
        ChangeKind::Put => {}
        ChangeKind::Tombstone => row.put_u8(TOMBSTONE_MARK),
    }
    row.freeze()
}

pub(crate) fn read_history(row: &[u8]) -> Result<(Stamp, ChangeKind), Fault> {
    let parsed = (|| {
        let (main, rest) = split_i64(row)?;
        let (separator, rest) = rest.split_first()?;
        let (sub, mark) = split_i64(rest)?;
        let kind = match mark {
            [] => ChangeKind::Put,
            [TOMBSTONE_MARK] => ChangeKind::Tombstone,
            _ => return None,
        };
        let valid = *separator == STAMP_SEPARATOR && main >= 0 && sub >= 0;
        valid.then_some((
            Stamp {
                main: Revision(main),
                sub,
            },
            kind,
        ))
    })();
    parsed.ok_or_else(|| damaged("history row is not a revision key"))
}

/// Returns the row of `key`'s change at `stamp`. In ascending order, the newest change comes first.
pub(crate) fn version(key: &[u8], stamp: Stamp) -> Bytes {
    let mut row = escaped(key, STAMP_LEN);
    row.put_slice(&KEY_END);
    row.put_i64(!stamp.main.0);
    row.put_i64(!stamp.sub);
    row.freeze()
}

/// Returns a position before every `Versions` row of `key` and of the keys after it.
pub(crate) fn versions_from(key: &[u8]) -> Bytes {
    let mut row = escaped(key, 0);
    row.put_slice(&KEY_END);
    row.freeze()
}

/// A parsed `Versions` row key. The key stays escaped: most readers only compare it.
#[derive(Clone, Debug)]
pub(crate) struct VersionRow {
    escaped: Bytes,
    pub(crate) stamp: Stamp,
}

impl VersionRow {
    pub(crate) fn parse(row: &Bytes) -> Result<Self, Fault> {
        let parsed = (|| {
            let cut = row.len().checked_sub(STAMP_LEN)?;
            let (_, stamp) = row.split_at_checked(cut)?;
            let (main, rest) = split_i64(stamp)?;
            let (sub, _) = split_i64(rest)?;
            let escaped = row.slice(..cut);
            let stamp = Stamp {
                main: Revision(!main),
                sub: !sub,
            };
            escaped
                .ends_with(&KEY_END)
                .then_some(Self { escaped, stamp })
        })();
        parsed.ok_or_else(|| damaged("versions row is too short"))
    }

    /// Whether both rows belong to one key.
    pub(crate) fn same_key(&self, other: &Self) -> bool {
        self.escaped == other.escaped
    }

    /// Whether this row belongs to the key for which [`versions_from`] made `prefix`.
    pub(crate) fn is_of(&self, prefix: &[u8]) -> bool {
        self.escaped.as_ref() == prefix
    }

    /// Returns the row of the same key at `stamp`.
    pub(crate) fn at(&self, stamp: Stamp) -> Bytes {
        let capacity = self.escaped.len().saturating_add(STAMP_LEN);
        let mut row = BytesMut::with_capacity(capacity);
        row.put_slice(&self.escaped);
        row.put_i64(!stamp.main.0);
        row.put_i64(!stamp.sub);
        row.freeze()
    }

    /// Returns a position after every row of this key, before those of the next key.
    pub(crate) fn after(&self) -> Bytes {
        let body = self.escaped.strip_suffix(&KEY_END).unwrap_or_default();
        let mut row = BytesMut::with_capacity(self.escaped.len());
        row.put_slice(body);
        row.put_slice(&KEY_AFTER);
        row.freeze()
    }

    /// Returns the unescaped key.
    pub(crate) fn key(&self) -> Bytes {
        let body = self.escaped.strip_suffix(&KEY_END).unwrap_or_default();
        if !body.contains(&0) {
            return self.escaped.slice(..body.len());
        }
        let mut key = BytesMut::with_capacity(body.len());
        let mut bytes = body.iter();
        while let Some(byte) = bytes.next() {
            key.put_u8(*byte);
            if *byte == 0 {
                bytes.next();
            }
        }
        key.freeze()
    }
}

pub(crate) fn escaped(key: &[u8], extra: usize) -> BytesMut {
    let capacity = key
        .len()
        .saturating_add(KEY_END.len())
        .saturating_add(extra);
    let mut row = BytesMut::with_capacity(capacity);
    if !key.contains(&0) {
        row.put_slice(key);
        return row;
    }
    for byte in key {
        row.put_u8(*byte);
        if *byte == 0 {
            row.put_u8(ZERO_ESCAPE);
        }
    }
    debug_assert!(
        !row.windows(KEY_END.len()).any(|two| two == KEY_END),
        "an escaped key does not hold its own end"
    );
    row
}

/// Negative lease ids sort before positive ones, as numbers do.
pub(crate) fn lease(id: LeaseId) -> Bytes {
    Bytes::copy_from_slice(&ordered(id).to_be_bytes())
}

pub(crate) fn read_lease(row: &[u8]) -> Result<LeaseId, Fault> {
    match split_i64(row) {
        Some((id, [])) => Ok(LeaseId(id ^ i64::MIN)),
        _ => Err(damaged("lease row is not eight bytes")),
    }
}

pub(crate) fn lease_key(id: LeaseId, key: &[u8]) -> Bytes {
    let mut row = BytesMut::with_capacity(key.len().saturating_add(8));
    row.put_i64(ordered(id));
    row.put_slice(key);
    row.freeze()
}

/// Returns the key of a `LeaseKeys` row, if the row is of lease `id`.
pub(crate) fn read_lease_key(row: &Bytes, id: LeaseId) -> Option<Bytes> {
    row.starts_with(&ordered(id).to_be_bytes())
        .then(|| row.slice(8..))
}

/// Returns the smallest key above a key.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len().saturating_add(1));
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

pub(crate) const fn ordered(id: LeaseId) -> i64 {
    id.0 ^ i64::MIN
}

pub(crate) fn alarm(member: MemberId, kind: AlarmKind) -> Bytes {
    let mut row = Family::Alarm.row(9);
    row.put_u64(member.0);
    row.put_u8(match kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    });
    row.freeze()
}

/// Returns the alarm of a `Cluster` row, or `None` for any other row.
pub(crate) fn read_alarm(row: &[u8]) -> Result<Option<(MemberId, AlarmKind)>, Fault> {
    let Some(rest) = Family::Alarm.rest(row) else {
        return Ok(None);
    };
    let (member, kind) = split_u64(rest).ok_or_else(|| damaged("alarm row is too short"))?;
    let kind = match kind {
        [1] => AlarmKind::NoSpace,
        [2] => AlarmKind::Corrupt,
        _ => return Err(damaged("alarm row has an unknown kind")),
    };
    Ok(Some((MemberId(member), kind)))
}

pub(crate) fn member(id: MemberId) -> Bytes {
    let mut row = Family::Member.row(8);
    row.put_u64(id.0);
    row.freeze()
}

pub(crate) fn origin(origin: u64) -> Bytes {
    let mut row = Family::Origin.row(8);
    row.put_u64(origin);
    row.freeze()
}

/// Returns the row of the floor of evicted origins.
pub(crate) const fn origins_floor() -> Bytes {
    Bytes::from_static(Family::Origin.prefix())
}

pub(crate) fn split_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*head), rest))
}

pub(crate) fn split_i64(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    Some((i64::from_be_bytes(*head), rest))
}

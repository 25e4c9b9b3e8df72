//! The row of a claim: the properties that its key does not contain.
//!
//! `C`, escaped name, BE64 token, key. Rows of one name lie together, in the order of the queue.
//! The value is, big-endian: layout (1), flags (1: holds, 2: made by another program, 4: waits for
//! a limited time), mode (0 exclusive, 1 shared, 2 permits and then count and limit, four bytes
//! each), since (8), end of the wait (8, if flagged), lock delay (8), call (8), principal, bundle.
//! The principal is preceded by its length, the bundle by its number of names and each of those by
//! its length, four bytes each.
//!
//! Invariant: a row exists exactly while a key exists that was created as a claim and still is one;
//! its token is that key's create revision.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    encoding::{Decoder, Encoder, Malformed, flags, text},
    engine::{Cursor, Table, View},
    error::{Fault, damaged},
    keyspace::{claim_key, lease_of, name_of},
    outcome::ClaimState,
    rows::{
        Family, Overlay, Record, Row,
        keys::{self, KEY_END, split_i64},
    },
    value::{ClusterTime, KeyValue, LeaseId, Mode, Revision, Ttl},
};

/// The smallest suffix above every row of the name that it is appended to.
const KEY_AFTER: [u8; 2] = [0, 1];
/// Layout version, the first byte of the value.
const LAYOUT: u8 = 1;
/// The claim holds.
const FLAG_HELD: u8 = 1;
/// The key was put by a program that knows no claims, as etcd's clients do.
const FLAG_FOREIGN: u8 = 2;
/// The wait is limited.
const FLAG_WAITS_UNTIL: u8 = 4;

/// A claim, without the value of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) name: Bytes,
    pub(crate) key: Bytes,
    pub(crate) lease: LeaseId,
    pub(crate) token: Revision,
    pub(crate) mode: Mode,
    pub(crate) held: bool,
    /// Made by a plain put: its maker waits only for the claims that were before it in the queue.
    pub(crate) foreign: bool,
    /// When it began to hold, or to wait.
    pub(crate) since: ClusterTime,
    /// From then on it is not granted. Invariant: `None` once it holds.
    pub(crate) wait_until: Option<ClusterTime>,
    pub(crate) lock_delay: Ttl,
    pub(crate) principal: String,
    /// The names of the bundle that is granted together, its own included, sorted; empty for a
    /// single claim. Invariant: empty once it holds.
    pub(crate) bundle: Vec<Bytes>,
    /// The call that may withdraw it; see `Acquire`. Zero for none.
    pub(crate) call: u64,
}

impl Claim {
    pub(crate) fn row(&self) -> Bytes {
        row(&self.name, self.token, &self.key)
    }

    pub(crate) fn store(&self, overlay: &mut Overlay) {
        debug_assert!(
            !self.held || self.wait_until.is_none(),
            "{self:?} does not wait"
        );
        debug_assert!(
            !self.held || self.bundle.is_empty(),
            "{self:?} is not to be granted"
        );
        debug_assert!(
            self.bundle.is_empty() || self.bundle.contains(&self.name),
            "{self:?} is of its bundle"
        );
        debug_assert_eq!(
            lease_of(&self.key),
            Some(self.lease),
            "a key says its lease"
        );
        debug_assert_eq!(name_of(&self.key), self.name, "and its name");
        overlay.put(Table::Cluster, self.row(), self.encode());
    }

    /// Returns the size of its row in bytes.
    pub(crate) fn row_bytes(&self) -> usize {
        self.row().len().saturating_add(self.encode().len())
    }

    /// Whether its limited wait is over.
    pub(crate) fn is_over(&self, now: ClusterTime) -> bool {
        !self.held && self.wait_until.is_some_and(|until| until <= now)
    }

    /// Returns the claim as clients see it.
    pub(crate) fn state(&self, value: Bytes, position: u32) -> ClaimState {
        ClaimState {
            name: self.name.clone(),
            key: self.key.clone(),
            lease: self.lease,
            token: self.token,
            mode: self.mode,
            held: self.held,
            since: self.since,
            principal: self.principal.clone(),
            value,
            position: if self.held { 0 } else { position },
        }
    }

    /// Returns the claim as signals carry it, without its value.
    pub(crate) fn signalled(&self, position: u32) -> ClaimState {
        self.state(Bytes::new(), position)
    }

    fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        out.byte(LAYOUT);
        out.byte(flags(&[
            (self.held, FLAG_HELD),
            (self.foreign, FLAG_FOREIGN),
            (self.wait_until.is_some(), FLAG_WAITS_UNTIL),
        ]));
        match self.mode {
            Mode::Exclusive => out.byte(0),
            Mode::Shared => out.byte(1),
            Mode::Permits { count, limit } => {
                out.byte(2);
                out.fixed(count);
                out.fixed(limit);
            }
        }
        out.fixed(self.since);
        if let Some(until) = self.wait_until {
            out.fixed(until);
        }
        out.fixed(self.lock_delay);
        out.fixed(self.call);
        put_counted(&mut out, self.principal.as_bytes());
        out.fixed(length(self.bundle.len()));
        for name in &self.bundle {
            put_counted(&mut out, name);
        }
        out.finish()
    }

    /// Decodes a row whose name ends after `prefix_len` bytes of its key.
    pub(crate) fn parse(row: &Bytes, prefix_len: usize, value: &Bytes) -> Result<Self, Fault> {
        let parsed = (|| {
            let (token, key) = split_i64(row.get(prefix_len..)?)?;
            let key = row.slice_ref(key);
            let lease = lease_of(&key)?;
            decode(value, key, lease, Revision(token)).ok()
        })();
        parsed.ok_or_else(|| damaged("claim row is of an unknown layout"))
    }
}

fn decode(value: &Bytes, key: Bytes, lease: LeaseId, token: Revision) -> Result<Claim, Malformed> {
    let mut input = Decoder::new(value);
    input.version(LAYOUT)?;
    let flags = input.flags(FLAG_HELD | FLAG_FOREIGN | FLAG_WAITS_UNTIL)?;
    let claim = Claim {
        name: name_of(&key),
        key,
        lease,
        token,
        held: flags & FLAG_HELD != 0,
        foreign: flags & FLAG_FOREIGN != 0,
        mode: match input.byte()? {
            0 => Mode::Exclusive,
            1 => Mode::Shared,
            2 => Mode::Permits {
                count: input.fixed()?,
                limit: input.fixed()?,
            },
            _ => return Err(Malformed::Form("unknown mode")),
        },
        since: input.fixed()?,
        wait_until: match flags & FLAG_WAITS_UNTIL {
            0 => None,
            _ => Some(input.fixed()?),
        },
        lock_delay: input.fixed()?,
        call: input.fixed()?,
        principal: text(take_counted(&mut input)?)?,
        bundle: {
            let mut bundle = Vec::new();
            for _ in 0..input.fixed::<u32>()? {
                let name = take_counted(&mut input)?;
                bundle.push(input.shared(name));
            }
            bundle
        },
    };
    input.end()?;
    Ok(claim)
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn put_counted(out: &mut Encoder, bytes: &[u8]) {
    out.fixed(length(bytes.len()));
    out.raw(bytes);
}

fn take_counted<'a>(input: &mut Decoder<'a>) -> Result<&'a [u8], Malformed> {
    let length: u32 = input.fixed()?;
    input.raw(usize::try_from(length).unwrap_or(usize::MAX))
}

/// Returns the prefix of the rows of all claims on `name`; it is the key of the queue summary.
pub(crate) fn prefix(name: &[u8]) -> Bytes {
    let escaped = keys::escaped(name, 0);
    let mut row = Family::Claim.row(escaped.len().saturating_add(KEY_END.len()));
    row.put_slice(&escaped);
    row.put_slice(&KEY_END);
    row.freeze()
}

/// Returns the prefix of all rows of names that begin with `names`.
pub(crate) fn names_prefix(names: &[u8]) -> Bytes {
    let escaped = keys::escaped(names, 0);
    let mut row = Family::Claim.row(escaped.len());
    row.put_slice(&escaped);
    row.freeze()
}

/// Returns a key before the rows with tokens of at least `token`, of the name that `prefix` is made
/// of.
pub(crate) fn at(prefix: &[u8], token: Revision) -> Bytes {
    let mut row = BytesMut::with_capacity(prefix.len().saturating_add(8));
    row.put_slice(prefix);
    row.put_i64(token.0);
    row.freeze()
}

/// Returns a key after every row of a name and before those of the next one.
pub(crate) fn after(prefix: &[u8]) -> Bytes {
    let body = prefix.strip_suffix(&KEY_END).unwrap_or(prefix);
    let mut row = BytesMut::with_capacity(prefix.len());
    row.put_slice(body);
    row.put_slice(&KEY_AFTER);
    row.freeze()
}

/// Returns the length of the part of a claim's or a summary's row that [`prefix`] made.
pub(crate) fn prefix_len(row: &[u8]) -> Option<usize> {
    // Within a name every zero byte is followed by a nonzero byte.
    let end = row.windows(KEY_END.len()).position(|two| two == KEY_END)?;
    end.checked_add(KEY_END.len())
}

fn row(name: &[u8], token: Revision, key: &[u8]) -> Bytes {
    let prefix = prefix(name);
    let capacity = prefix.len().saturating_add(8).saturating_add(key.len());
    let mut row = BytesMut::with_capacity(capacity);
    row.put_slice(&prefix);
    row.put_i64(token.0);
    row.put_slice(key);
    row.freeze()
}

/// Returns the claim whose key is `key` and whose token is `token`.
pub(crate) fn find(view: &dyn View, token: Revision, key: &Bytes) -> Result<Option<Claim>, Fault> {
    let name = name_of(key);
    let row = row(&name, token, key);
    let value = view.get(Table::Cluster, &row)?;
    value
        .map(|value| Claim::parse(&row, prefix(&name).len(), &value))
        .transpose()
}

/// Returns the claim of `lease` on `name`, with the value of its key.
pub(crate) fn of_lease(
    view: &dyn View,
    name: &[u8],
    lease: LeaseId,
) -> Result<Option<(Claim, Bytes)>, Fault> {
    let key = claim_key(name, lease);
    let Some(record) = record(view, &key)? else {
        return Ok(None);
    };
    let claim = find(view, record.create_revision, &key)?;
    Ok(claim.map(|claim| (claim, record.value)))
}

/// Returns the latest record of a key.
pub(crate) fn record(view: &dyn View, key: &Bytes) -> Result<Option<KeyValue>, Fault> {
    let record = Record::find(view, Table::Current, key)?;
    Ok(record.map(|record| record.into_key_value(key.clone())))
}

/// Returns the value of a claim's key.
pub(crate) fn value(view: &dyn View, claim: &Claim) -> Result<Bytes, Fault> {
    match record(view, &claim.key)? {
        Some(record) => Ok(record.value),
        None => Err(damaged("a claim has no key")),
    }
}

/// Iterates over the claims on one name, in queue order.
pub(crate) struct Claims<'a> {
    cursor: Box<dyn Cursor + 'a>,
    prefix: Bytes,
}

impl<'a> Claims<'a> {
    /// Starts at the first claim whose token is at least `from`.
    pub(crate) fn from(view: &'a dyn View, name: &[u8], from: Revision) -> Result<Self, Fault> {
        let prefix = prefix(name);
        let cursor = view.scan(Table::Cluster, &at(&prefix, from))?;
        Ok(Self { cursor, prefix })
    }

    pub(crate) fn next(&mut self) -> Result<Option<Claim>, Fault> {
        match self.cursor.next()? {
            Some((row, value)) if row.starts_with(&self.prefix) => {
                Claim::parse(&row, self.prefix.len(), &value).map(Some)
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(mode: Mode, bundle: &[&'static [u8]]) -> Claim {
        let name = Bytes::from_static(b"a\0lock");
        Claim {
            key: claim_key(&name, LeaseId(-31)),
            name,
            lease: LeaseId(-31),
            token: Revision(7),
            mode,
            held: bundle.is_empty(),
            foreign: false,
            since: ClusterTime(9),
            wait_until: (!bundle.is_empty()).then_some(ClusterTime(11)),
            lock_delay: Ttl(13),
            principal: "who".to_owned(),
            bundle: bundle.iter().map(|name| Bytes::from_static(name)).collect(),
            call: 15,
        }
    }

    fn parse(row: &Bytes, value: &Bytes) -> Result<Claim, Fault> {
        Claim::parse(row, prefix_len(row).expect("a name"), value)
    }

    #[test]
    fn a_row_is_read_as_it_was_written_and_in_no_other_form() {
        let permits = Mode::Permits { count: 2, limit: 3 };
        for claim in [
            claim(Mode::Exclusive, &[]),
            claim(Mode::Shared, &[b"a\0lock", b"b"]),
            claim(permits, &[b"a\0lock"]),
        ] {
            let (row, value) = (claim.row(), claim.encode());
            assert_eq!(parse(&row, &value).expect("a row"), claim);
            for cut in 0..value.len() {
                assert!(parse(&row, &value.slice(..cut)).is_err(), "{cut}");
            }
            let longer: Vec<u8> = value.iter().copied().chain([0]).collect();
            assert!(parse(&row, &Bytes::from(longer)).is_err());
        }
    }

    #[test]
    fn the_prefix_of_a_row_ends_with_its_name() {
        for name in [b"a".as_slice(), b"", b"a\0", b"\0\0", b"a\xff"] {
            let row = row(name, Revision(0), b"a/1");
            assert_eq!(prefix_len(&row), Some(prefix(name).len()));
            assert!(row.starts_with(&names_prefix(name)));
        }
        assert!(!prefix(b"a").starts_with(&names_prefix(b"a\0")));
    }
}

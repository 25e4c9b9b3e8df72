//! A digest of the replicated logical state, to compare replicas and runs by.
//!
//! Not a cryptographic hash, and not etcd's (see [`crate::Reader::hash_kv`]). Invariant: rows that
//! collection may delete are not counted, nor are node-local rows.

use std::ops::ControlFlow;

use crate::{
    engine::{Table, View},
    error::Fault,
    history::is_reachable,
    meta::Meta,
    read::Reader,
    rows::{Row, keys},
    value::KeyValue,
};

/// Returns the digest of the state in `view`.
///
/// # Errors
/// When the engine cannot read, or a row does not decode.
pub fn digest(view: &dyn View) -> Result<u64, Fault> {
    let digest = digest_paced(view, &mut |_| ControlFlow::Continue(()))?;
    Ok(digest.expect("invariant: a digest that is not broken off has an end"))
}

/// As [`digest`], for a large state: after each row it calls `paced` with the bytes of the row.
/// `paced` may wait, or stop the computation; the result is `None` then.
///
/// # Errors
/// When the engine cannot read, or a row does not decode.
pub fn digest_paced(
    view: &dyn View,
    paced: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<u64>, Fault> {
    let meta = Meta::load(view)?;
    let reader = Reader::over(view, meta);
    let mut digest = Digest(FNV_OFFSET);
    digest.bytes(&meta.encode());
    for table in [
        Table::Current,
        Table::Leases,
        Table::LeaseKeys,
        Table::Cluster,
    ] {
        digest.bytes(&[table as u8]);
        let mut cursor = view.scan(table, &[])?;
        while let Some((key, value)) = cursor.next()? {
            digest.bytes(&key);
            digest.bytes(&value);
            if paced(key.len().saturating_add(value.len())).is_break() {
                return Ok(None);
            }
        }
    }
    digest.bytes(&[Table::History as u8]);
    let mut cursor = view.scan(Table::History, &[])?;
    while let Some((row, value)) = cursor.next()? {
        let (stamp, kind) = keys::read_history(&row)?;
        if is_reachable(&reader, stamp, kind, &KeyValue::decode(&value)?.key)? {
            digest.bytes(&row);
            digest.bytes(&value);
        }
        if paced(row.len().saturating_add(value.len())).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(digest.0))
}

/// FNV-1a over length-prefixed strings.
struct Digest(u64);

impl Digest {
    fn bytes(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_be_bytes();
        self.0 = fnv1a(fnv1a(self.0, &length), bytes);
    }
}

/// The offset basis of 64-bit FNV-1a.
pub(crate) const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// Continues a 64-bit FNV-1a hash.
pub(crate) fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}

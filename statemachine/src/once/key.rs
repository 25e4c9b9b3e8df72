//! Idempotency keys: ids of requests that belong to no session.
//!
//! Invariant: every key that is remembered is counted, and has a timer that forgets it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    engine::{Table, View},
    error::{Fault, ReadError, Refusal},
    keys::{REQUEST_KEY_PREFIX, REQUEST_KEYS_ROW, damaged, split_u64},
    overlay::Overlay,
    timers::{self, Timer},
    types::{ClusterTime, Ttl},
};

/// For how long a key is remembered, in cluster time: longer than any client goes on trying.
const REMEMBERED_FOR: Ttl = Ttl::from_secs(10 * 60);

/// Keys that are remembered at once. With outcomes of a hundred bytes these are some 20 MB.
const KEYS_MAX: u64 = 100_000;

fn row_of(key: &[u8]) -> Bytes {
    let mut row = BytesMut::with_capacity(key.len().saturating_add(1));
    row.put_u8(REQUEST_KEY_PREFIX);
    row.put_slice(key);
    row.freeze()
}

/// Whether a row is of a key.
pub(super) fn is_key_row(row: &[u8]) -> bool {
    row.first() == Some(&REQUEST_KEY_PREFIX)
}

/// How many keys are remembered.
pub(super) fn count(view: &dyn View) -> Result<u64, Fault> {
    let Some(row) = view.get(Table::Cluster, &[REQUEST_KEYS_ROW])? else {
        return Ok(0);
    };
    match split_u64(&row) {
        Some((count, [])) => Ok(count),
        _ => Err(damaged("count of idempotency keys is not eight bytes")),
    }
}

fn set_count(overlay: &mut Overlay, count: u64) {
    let row = Bytes::from_static(&[REQUEST_KEYS_ROW]);
    let count = Bytes::copy_from_slice(&count.to_be_bytes());
    overlay.put(Table::Cluster, row, count);
}

/// The row of a key, or `None` when it is not known. Refused when it could not be remembered.
pub(super) fn recall(view: &dyn View, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
    let known = view.get(Table::Cluster, &row_of(key))?;
    if known.is_none() && count(view)? >= KEYS_MAX {
        return Err(Refusal::TooManyRequestKeys.into());
    }
    Ok(known)
}

/// Remembers a key that was not known.
pub(super) fn remember(
    overlay: &mut Overlay,
    now: ClusterTime,
    key: &Bytes,
    row: Bytes,
) -> Result<(), Fault> {
    let count = count(overlay)?;
    set_count(overlay, count.saturating_add(1));
    overlay.put(Table::Cluster, row_of(key), row);
    let at = now.after(REMEMBERED_FOR);
    timers::set(overlay, at, &Timer::ForgetKey(key.clone()));
    Ok(())
}

/// Forgets a key.
pub(crate) fn forget(overlay: &mut Overlay, key: &Bytes) -> Result<(), Fault> {
    let row = row_of(key);
    if overlay.get(Table::Cluster, &row)?.is_some() {
        overlay.delete(Table::Cluster, row);
        let count = count(overlay)?;
        set_count(overlay, count.saturating_sub(1));
    }
    Ok(())
}

//! Idempotency keys: ids of requests that belong to no session.
//!
//! Invariant: every remembered key is counted, and so are the bytes of its outcome; it has a timer
//! that removes it.

use bytes::Bytes;

use super::share::Share;
use crate::{
    access::{Owner, StoredKey, stored_key},
    engine::{Table, View},
    error::{Fault, ReadError, Refusal},
    rows::{self, Family, Overlay, Row},
    timers::{self, Timer},
    value::{ClusterTime, Ttl},
};

/// How long a key is remembered, in cluster time: longer than any client retries.
const REMEMBERED_FOR: Ttl = Ttl::from_secs(10 * 60);

/// Most keys remembered of requests that name no client: a hundred and sixty new ones a second.
const KEYS_MAX: u64 = 100_000;

/// Most keys remembered of all clients together. A client may have as many as are still free, so a
/// single client has half of them at most, and there is room for the next.
pub const SHARED_KEYS_MAX: u64 = 200_000;

/// Most bytes of the outcomes of all keys together; beyond that, outcomes are remembered in their
/// short form. Ten times the size of usual outcomes, and affordable for a node. The short forms,
/// and the keys with their timers, add less than 120 MiB at the worst, on disk. A client may use as
/// many of the bytes as are still free.
const KEYS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Counters over all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeysState {
    /// Number of keys.
    pub(super) remembered: u64,
    /// Size of their outcomes, in bytes.
    pub(super) bytes: u64,
}

rows::row! { KeysState { remembered, bytes }, "row of idempotency keys is not of its length" }

impl KeysState {
    pub(super) fn load(view: &dyn View) -> Result<Self, Fault> {
        let state = Self::find(view, Table::Cluster, Family::RequestKeyCount.prefix())?;
        Ok(state.unwrap_or_default())
    }

    fn save(self, overlay: &mut Overlay) {
        let key = Bytes::from_static(Family::RequestKeyCount.prefix());
        overlay.put(Table::Cluster, key, self.encode());
    }
}

/// Returns the row of a key of a user, or of nobody; `None` for a new key. Refused if a new key
/// could not be remembered, or if it may be a repeat from before authentication was enabled or
/// disabled.
pub(super) fn recall(
    view: &dyn View,
    (key, user): (&Bytes, Option<&Owner>),
    client: Option<u64>,
) -> Result<Option<Bytes>, ReadError> {
    let known = view.get(Table::Cluster, &StoredKey::of(key, user).row())?;
    if known.is_some() {
        return Ok(known);
    }
    if stored_key::is_ambiguous(view, key, user)? {
        return Err(Refusal::RequestDiffers.into());
    }
    let remembered = KeysState::load(view)?.remembered;
    let full = match client {
        None => remembered >= KEYS_MAX,
        Some(client) => {
            let free = SHARED_KEYS_MAX.saturating_sub(remembered);
            Share::load(view, client)?.keys >= free
        }
    };
    if full {
        Err(Refusal::TooManyRequestKeys.into())
    } else {
        Ok(None)
    }
}

/// Remembers a new key, with the row that `encode` makes for the available room.
pub(super) fn remember(
    overlay: &mut Overlay,
    now: ClusterTime,
    key: StoredKey,
    client: Option<u64>,
    encode: impl FnOnce(u64) -> Option<Bytes>,
) -> Result<(), Fault> {
    let mut state = KeysState::load(overlay)?;
    let mut share = match client {
        Some(client) => Share::load(overlay, client)?,
        None => Share::default(),
    };
    let free = KEYS_BYTES_MAX.saturating_sub(state.bytes);
    let Some(row) = encode(free.saturating_sub(share.bytes)) else {
        return Ok(());
    };
    share.keys = share.keys.saturating_add(1);
    share.bytes = share.bytes.saturating_add(row.len() as u64);
    state.remembered = state.remembered.saturating_add(1);
    state.bytes = state.bytes.saturating_add(row.len() as u64);
    state.save(overlay);
    overlay.put(Table::Cluster, key.row(), row);
    let at = now.after(REMEMBERED_FOR);
    let timer = match client {
        None => Timer::ForgetKey(key),
        Some(client) => {
            share.save(overlay, client);
            Timer::ForgetClientKey(client, key)
        }
    };
    timers::set(overlay, at, &timer);
    Ok(())
}

/// Forgets a key; `client` is the client that it was remembered for, if any.
pub(crate) fn forget(
    overlay: &mut Overlay,
    key: &StoredKey,
    client: Option<u64>,
) -> Result<(), Fault> {
    let row = key.row();
    if let Some(known) = overlay.get(Table::Cluster, &row)? {
        overlay.delete(Table::Cluster, row);
        let mut state = KeysState::load(overlay)?;
        debug_assert!(state.remembered > 0, "a key that is forgotten is counted");
        debug_assert!(state.bytes >= known.len() as u64, "and so is its outcome");
        state.remembered = state.remembered.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(known.len() as u64);
        state.save(overlay);
        if let Some(client) = client {
            let mut share = Share::load(overlay, client)?;
            debug_assert!(share.keys > 0, "and its client has it");
            share.keys = share.keys.saturating_sub(1);
            share.bytes = share.bytes.saturating_sub(known.len() as u64);
            share.save(overlay, client);
        }
    }
    Ok(())
}

//! The row of an idempotency key: one name space for each user, and one for nobody.
//!
//! A client draws its keys at random, or takes them from its data, and others may guess those. So a
//! user's key names the user, and no other user can learn that it was used, or use it up.
//!
//! `I`, the key: of nobody, which are those of all clients while authentication is disabled. `L`,
//! BE32 length of the key, the key, BE64 auth revision at which the user was added, the name of the
//! user: of a user.

use bytes::{BufMut, Bytes, BytesMut};

use super::{AuthState, Owner};
use crate::{
    engine::{Table, View},
    error::Fault,
    rows::Family,
    value::AuthRevision,
};

/// Where the outcome of a key is remembered: what follows the letter of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoredKey {
    OfNobody(Bytes),
    OfUser(Bytes),
}

impl StoredKey {
    /// The key of a user, or of nobody.
    pub(crate) fn of(key: &Bytes, user: Option<&Owner>) -> Self {
        let Some(Owner { added, name }) = user else {
            return Self::OfNobody(key.clone());
        };
        let mut stored = of_any_user(key);
        stored.put_u64(added.0);
        stored.put_slice(name.as_bytes());
        Self::OfUser(stored.freeze())
    }

    /// Returns the key of its row.
    pub(crate) fn row(&self) -> Bytes {
        let (family, key) = match self {
            Self::OfNobody(key) => (Family::RequestKey, key),
            Self::OfUser(key) => (Family::UserRequestKey, key),
        };
        let mut row = family.row(key.len());
        row.put_slice(key);
        row.freeze()
    }
}

/// The start of a key that users share: the length keeps a key from being the start of another.
fn of_any_user(key: &Bytes) -> BytesMut {
    let mut stored = BytesMut::with_capacity(key.len().saturating_add(64));
    stored.put_u32(u32::try_from(key.len()).unwrap_or(u32::MAX));
    stored.put_slice(key);
    stored
}

/// Whether a row belongs to a key.
pub(crate) fn is_key_row(row: &[u8]) -> bool {
    [Family::RequestKey, Family::UserRequestKey]
        .iter()
        .any(|family| family.rest(row).is_some())
}

/// Whether a key that is new in its name space was used in one that a repeat of the same client may
/// come from: of nobody, before authentication was enabled; of any user, before it was disabled.
/// Such a request is not executed, because it may have been.
pub(crate) fn is_ambiguous(
    view: &dyn View,
    key: &Bytes,
    user: Option<&Owner>,
) -> Result<bool, Fault> {
    // Most clusters have never had a user.
    if AuthState::load(view)?.revision == AuthRevision::FIRST {
        return Ok(false);
    }
    if user.is_some() {
        let row = StoredKey::of(key, None).row();
        return Ok(view.get(Table::Cluster, &row)?.is_some());
    }
    let prefix = StoredKey::OfUser(of_any_user(key).freeze()).row();
    let mut cursor = view.scan(Table::Cluster, &prefix)?;
    let first = cursor.next_key()?;
    Ok(first.is_some_and(|row| row.starts_with(&prefix)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_keys_of_users_or_of_nobody_share_a_row() {
        let keys = ["", "a", "ab", "a\0", "\0\0\0\u{1}a"];
        let names = ["", "a", "ab", "b"];
        let mut rows = BTreeSet::new();
        for key in keys.map(|key| Bytes::from_static(key.as_bytes())) {
            assert!(rows.insert(StoredKey::of(&key, None).row()));
            for (name, added) in names.iter().flat_map(|name| [(name, 1), (name, 2)]) {
                let owner = Owner {
                    added: AuthRevision(added),
                    name: (*name).to_owned(),
                };
                assert!(rows.insert(StoredKey::of(&key, Some(&owner)).row()));
            }
        }
        assert!(rows.iter().all(|row| is_key_row(row)));
        assert_eq!(rows.len(), 5 * 9);
    }
}

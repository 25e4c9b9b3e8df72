//! Permissions of the users that were looked up last.
//!
//! Invariant: the cached permissions are those at one auth revision, which never decreases.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Permissions,
    rows::{AuthState, User},
};
use crate::{engine::View, error::Fault, value::AuthRevision};

/// Most users whose permissions are kept: more than the services of most clusters. When it is
/// full it is emptied, and the users in use return.
const USERS_MAX: usize = 256;

/// Most bytes of the permissions that are kept. A user's take a kilobyte or two.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The permissions of some users.
#[derive(Clone, Debug)]
pub struct PermissionCache {
    revision: AuthRevision,
    users: BTreeMap<String, Arc<Permissions>>,
    bytes: usize,
}

impl Default for PermissionCache {
    fn default() -> Self {
        Self {
            revision: AuthRevision::FIRST,
            users: BTreeMap::new(),
            bytes: 0,
        }
    }
}

impl PermissionCache {
    /// Returns the permissions of a user at `revision`, if they are kept.
    pub fn known(&mut self, revision: AuthRevision, name: &str) -> Option<Arc<Permissions>> {
        if revision > self.revision {
            self.clear();
            self.revision = revision;
        }
        let is_present = revision == self.revision;
        self.users.get(name).filter(|_| is_present).cloned()
    }

    /// Keeps the permissions of a user, unless `revision` is not the latest that was looked up.
    pub fn keep(&mut self, revision: AuthRevision, name: &str, permissions: &Arc<Permissions>) {
        let bytes = permissions.bytes().saturating_add(name.len());
        if revision != self.revision || bytes > BYTES_MAX || self.users.contains_key(name) {
            return;
        }
        let is_full = self.users.len() >= USERS_MAX;
        if is_full || self.bytes.saturating_add(bytes) > BYTES_MAX {
            self.clear();
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.users.insert(name.to_owned(), Arc::clone(permissions));
    }

    /// Returns the permissions of a user in the state of `view`; `None` if there is no such user.
    pub(crate) fn find(
        &mut self,
        view: &dyn View,
        state: &AuthState,
        name: &str,
    ) -> Result<Option<Arc<Permissions>>, Fault> {
        if let Some(known) = self.known(state.revision, name) {
            return Ok(Some(known));
        }
        let Some(user) = User::load(view, name)? else {
            return Ok(None);
        };
        let permissions = Arc::new(Permissions::of(view, name, &user)?);
        self.keep(state.revision, name, &permissions);
        Ok(Some(permissions))
    }

    /// Forgets what was looked up at a later revision: the batch that made it was not written.
    pub(crate) fn return_to(&mut self, revision: AuthRevision) {
        if self.revision > revision {
            self.clear();
            self.revision = revision;
        }
    }

    fn clear(&mut self) {
        self.users.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bounds() {
        let mut cache = PermissionCache::default();
        let permissions = Arc::new(Permissions::default());
        for user in 0..=USERS_MAX {
            cache.keep(AuthRevision::FIRST, &user.to_string(), &permissions);
            assert!(cache.users.len() <= USERS_MAX);
        }
        assert_eq!(cache.users.len(), 1, "emptied when it was full");
        assert_eq!(cache.bytes, USERS_MAX.to_string().len());
        cache.bytes = BYTES_MAX;
        cache.keep(AuthRevision::FIRST, "large", &permissions);
        assert_eq!((cache.users.len(), cache.bytes), (1, 5));
        cache.keep(AuthRevision::FIRST, "large", &permissions);
        assert_eq!((cache.users.len(), cache.bytes), (1, 5), "once");
    }
}

//! Warns of data that is kept below the name of a lock.
//!
//! etcd's lock recipe takes every key below `NAME/` for a claim: a client waits for an older key
//! there, and without end for one that is never deleted. tenure's own claims are not affected. No
//! request is refused. Invariant: a name is checked at most once a minute, so that a busy lock does
//! not pay for it.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};
use tracing::warn;

use crate::rpc::{answer::failure::Failure, services::Services};

/// Keys below a name that are checked: a few claims, and data among or behind them.
const KEYS_CHECKED_MAX: usize = 16;
/// Time until a name is checked again, and the warning repeated.
const CHECK_AGAIN: Duration = Duration::from_secs(60);
/// Names whose check is remembered; when there are more, all are forgotten and checked again.
const NAMES_MAX: usize = 4096;

/// Checks for data below the names of locks.
#[derive(Debug, Default)]
pub(in crate::rpc) struct ForeignKeys {
    checked: Mutex<HashMap<Bytes, Instant>>,
}

impl ForeignKeys {
    /// Warns of data below these names; returns its first key.
    pub(in crate::rpc) fn warn(
        &self,
        services: &Services,
        names: &[Bytes],
    ) -> Result<Option<Bytes>, Failure> {
        let due = self.due(names);
        let mut first = None;
        for name in due {
            let look = |reader: &tenure_statemachine::Reader<'_>| {
                Ok(reader.foreign_key(name, KEYS_CHECKED_MAX)?)
            };
            let Some(key) = services.latest(look)? else {
                continue;
            };
            warn!(
                lock = %name.escape_ascii(),
                key = %key.escape_ascii(),
                "data below the name of a lock: etcd's clients take it for a claim on the lock and \
                 wait for it without end; keep it outside the name and its slash"
            );
            first.get_or_insert(key);
        }
        Ok(first)
    }

    /// The names that were not checked within [`CHECK_AGAIN`].
    fn due<'a>(&self, names: &'a [Bytes]) -> Vec<&'a Bytes> {
        let now = Instant::now();
        let mut checked = self.checked.lock();
        let mut due = Vec::new();
        for name in names {
            if let Some(last) = checked.get_mut(name) {
                if now.duration_since(*last) >= CHECK_AGAIN {
                    *last = now;
                    due.push(name);
                }
                continue;
            }
            if checked.len() >= NAMES_MAX {
                checked.clear();
            }
            checked.insert(name.clone(), now);
            due.push(name);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use tenure_statemachine::{Command, LeaseGrant, LeaseId, Put, Ttl};

    use super::*;
    use crate::rpc::{Limits, fake::FakeNode};

    fn put(key: &'static str, lease: i64) -> Command {
        Command::Put(Put {
            key: key.into(),
            lease: LeaseId(lease),
            ..Put::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn data_below_the_name_of_a_lock_is_warned_of_once_a_minute() {
        let node = FakeNode::leading();
        let services = node.services(Limits::standard());
        node.apply(&Command::LeaseGrant(LeaseGrant {
            id: LeaseId(1),
            ttl: Ttl::from_secs(9),
        }));
        let names = [Bytes::from_static(b"jobs/42")];
        let found = || services.foreign_keys.warn(&services, &names).unwrap();
        for fine in [
            put("jobs/42", 0),
            put("jobs/42/1", 1),
            put("jobs/42.state", 0),
        ] {
            node.apply(&fine);
        }
        assert_eq!(found(), None, "a claim, and keys beside the name");
        node.apply(&put("jobs/42/state", 0));
        assert_eq!(found(), None, "checked a moment ago");
        tokio::time::advance(CHECK_AGAIN).await;
        assert_eq!(found().unwrap(), "jobs/42/state");
        assert_eq!(found(), None, "warned a moment ago");
    }

    #[tokio::test]
    async fn claims_on_a_longer_name_and_keys_without_their_lease_are_foreign() {
        let node = FakeNode::leading();
        let services = node.services(Limits::standard());
        node.apply(&Command::LeaseGrant(LeaseGrant {
            id: LeaseId(1),
            ttl: Ttl::from_secs(9),
        }));
        node.apply(&put("a/b/1", 1));
        node.apply(&put("c/2", 0));
        let warn = |name: &'static str| services.foreign_keys.warn(&services, &[name.into()]);
        assert_eq!(warn("a").unwrap().unwrap(), "a/b/1");
        assert_eq!(warn("a/b").unwrap(), None);
        assert_eq!(warn("c").unwrap().unwrap(), "c/2");
    }

    #[tokio::test]
    async fn no_more_names_are_remembered_than_may_be() {
        let it = ForeignKeys::default();
        for number in 0..=NAMES_MAX {
            let name = Bytes::from(number.to_string());
            assert_eq!(it.due(std::slice::from_ref(&name)), [&name]);
        }
        assert_eq!(it.checked.lock().len(), 1);
    }
}

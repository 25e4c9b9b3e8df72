//! Checks that a write carries the guards that the policies for its keys require.

use bytes::Bytes;

use super::needed::{Needed, is_below};
use crate::{
    claims,
    command::{Command, Guard, Will, WillSet},
    error::{Fault, MissingGuard, ReadError, Refusal},
    keyspace::claim_key,
    read::Reader,
    transition::Policies,
};

impl Policies {
    /// Checks that `command`, whose guards hold, carries the guards that the policies require.
    pub(crate) fn check(
        &self,
        reader: &Reader<'_>,
        guards: &[Guard],
        command: &Command,
    ) -> Result<(), ReadError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut needed = Needed::new(self, reader.view);
        needed.command(command)?;
        self.check_shown(needed, |lock| {
            if let Command::WillSet(set) = command {
                will_shows(reader, guards, set, lock)
            } else {
                shows(reader, guards, lock)
            }
        })
    }

    /// Checks that a will about to run, whose own guards hold, carries the guards that the policies
    /// require. `lost` is the lock held by the claim that the will is attached to; no other claim
    /// was granted the lock since.
    pub(crate) fn check_will(
        &self,
        reader: &Reader<'_>,
        will: &Will,
        lost: Option<&Bytes>,
    ) -> Result<(), ReadError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut needed = Needed::new(self, reader.view);
        needed.txn(&will.txn)?;
        self.check_shown(needed, |lock| {
            Ok(lost == Some(lock) || shows(reader, &will.guards, lock)?)
        })
    }

    fn check_shown(
        &self,
        needed: Needed<'_>,
        mut shown: impl FnMut(&Bytes) -> Result<bool, Fault>,
    ) -> Result<(), ReadError> {
        for policy in needed.places.into_iter().filter_map(|at| self.get(at)) {
            if !shown(&policy.lock)? {
                let (prefix, lock) = (policy.prefix.clone(), policy.lock.clone());
                let missing = MissingGuard { prefix, lock };
                return Err(Refusal::GuardMissing(Box::new(missing)).into());
            }
        }
        Ok(())
    }
}

/// Whether one of `guards` is of a claim that holds `lock`: by the lock's name, or by the claim's
/// key. A key that merely has the name of the lock does not count.
fn shows(reader: &Reader<'_>, guards: &[Guard], lock: &[u8]) -> Result<bool, Fault> {
    for guard in guards {
        let shown = if guard.name.as_ref() == lock {
            claims::holds(reader.view, lock, guard.token)?
        } else if is_below(&guard.name, lock) {
            claims::behind(reader.view, &guard.name)? == Some((guard.token, true))
        } else {
            false
        };
        if shown {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The guards of a will count, because they are checked when it runs. The guards of the command
/// that sets it count only if they are of the claim that the will is attached to and that claim
/// holds the lock, because the will runs before another claim is granted the lock.
fn will_shows(
    reader: &Reader<'_>,
    guards: &[Guard],
    set: &WillSet,
    lock: &Bytes,
) -> Result<bool, Fault> {
    let own = set.will.as_ref().map(|will| will.guards.as_slice());
    if shows(reader, own.unwrap_or_default(), lock)? {
        return Ok(true);
    }
    if set.lock.as_ref() != Some(lock) {
        return Ok(false);
    }
    let key = claim_key(lock, set.lease);
    let Some((token, true)) = claims::behind(reader.view, &key)? else {
        return Ok(false);
    };
    let is_of_claim =
        |guard: &Guard| guard.token == token && (guard.name == *lock || guard.name == key);
    Ok(guards.iter().any(is_of_claim))
}

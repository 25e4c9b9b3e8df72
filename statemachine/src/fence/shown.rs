//! Whether a write shows what the policies above it ask for.

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
    /// Whether `command`, whose guards hold, carries those that the policies ask for.
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

    /// Whether a will that is to run, and whose own guards hold, carries what the policies ask for.
    /// `lost` is the lock that the claim held which it goes with; no other claim was granted that
    /// since.
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

/// Whether one of `guards` is of a claim that holds `lock`: by its name, or by the claim's key. A
/// key that merely has the name of the lock does not count.
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

/// A will has guards of its own, which are checked when it runs, so they count. The guards of the
/// command that sets it are not: they count only if they are of the claim that the will goes with,
/// and that holds the lock, for the will runs before another claim is granted that.
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

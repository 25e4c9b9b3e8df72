//! Deadlock detection: finds leases that would wait for each other in a cycle.
//!
//! A waiting claim waits for every lease before it in its queue. The search is breadth-first: from
//! a new wait to the leases it waits for, to the queues in which these wait, and so on.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    row::{self, Claim, Claims},
    summary::QueueSummary,
};
use crate::{
    engine::{Cursor, Table, View},
    error::Fault,
    keyspace::{lease_of, name_of},
    rows::keys,
    value::{LeaseId, Revision},
};

/// Most rows that one search reads. Each costs a few microseconds, and the search is part of a
/// command that blocks every later write. A longer cycle is not found; it ends when a wait or a
/// lease in it ends first.
const ROWS_MAX: usize = 4_096;

/// A queue whose claims before `until` are waited for.
#[derive(Debug)]
struct Step {
    name: Bytes,
    until: Revision,
    /// The previous step.
    from: Option<usize>,
}

#[derive(Debug)]
struct Search<'a> {
    view: &'a dyn View,
    steps: Vec<Step>,
    /// How much of each queue was read: the claims with lower tokens.
    seen: BTreeMap<Bytes, Revision>,
    leases: BTreeSet<LeaseId>,
    rows_left: usize,
}

/// Returns the names of a cycle that would form if `lease` waited at the end of the queues of
/// `names`.
pub(super) fn of_waiting(
    view: &dyn View,
    names: &[Bytes],
    lease: LeaseId,
) -> Result<Option<Vec<Bytes>>, Fault> {
    if !is_waited_for(view, lease)? {
        return Ok(None);
    }
    let mut search = Search::new(view);
    for name in names {
        search.step(name.clone(), Revision(i64::MAX), None);
    }
    search.find(&BTreeSet::from([lease]))
}

/// Returns the names of a cycle that would form if the leases `waiting` waited for `lease` on
/// `name`.
pub(super) fn of_holding(
    view: &dyn View,
    name: &Bytes,
    lease: LeaseId,
    waiting: &BTreeSet<LeaseId>,
) -> Result<Option<Vec<Bytes>>, Fault> {
    let mut search = Search::new(view);
    for claim in search.waits_of(lease)? {
        if claim.name != name {
            search.step(claim.name, claim.token, None);
        }
    }
    let mut found = search.find(waiting)?;
    if let Some(names) = &mut found {
        names.push(name.clone());
    }
    Ok(found)
}

/// Whether any lease waits for this one. Usually none does, and this check is quick; it does not
/// depend on the length of the queues that the lease itself would wait in.
fn is_waited_for(view: &dyn View, lease: LeaseId) -> Result<bool, Fault> {
    let mut cursor = view.scan(Table::LeaseKeys, &keys::lease(lease))?;
    for _ in 0..ROWS_MAX {
        let Some(key) = next_key(cursor.as_mut(), lease)? else {
            return Ok(false);
        };
        if lease_of(&key) != Some(lease) {
            continue;
        }
        if let Some((claim, _)) = row::of_lease(view, &name_of(&key), lease)?
            && has_waiting_behind(view, &claim)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_waiting_behind(view: &dyn View, claim: &Claim) -> Result<bool, Fault> {
    if claim.held {
        return Ok(QueueSummary::of(view, &claim.name)?.waiting() > 0);
    }
    let behind = claim.token.next();
    Ok(Claims::from(view, &claim.name, behind)?.next()?.is_some())
}

fn next_key(cursor: &mut dyn Cursor, lease: LeaseId) -> Result<Option<Bytes>, Fault> {
    let row = cursor.next_key()?;
    Ok(row.and_then(|row| keys::read_lease_key(&row, lease)))
}

impl<'a> Search<'a> {
    const fn new(view: &'a dyn View) -> Self {
        Self {
            view,
            steps: Vec::new(),
            seen: BTreeMap::new(),
            leases: BTreeSet::new(),
            rows_left: ROWS_MAX,
        }
    }

    fn step(&mut self, name: Bytes, until: Revision, from: Option<usize>) {
        self.steps.push(Step { name, until, from });
    }

    /// Counts a row to read. Returns whether it may be read.
    const fn spend(&mut self) -> bool {
        let may = self.rows_left > 0;
        self.rows_left = self.rows_left.saturating_sub(1);
        may
    }

    /// Searches until it reaches one of `goals`. Returns the names on the path to it.
    fn find(&mut self, goals: &BTreeSet<LeaseId>) -> Result<Option<Vec<Bytes>>, Fault> {
        let mut at = 0;
        while let Some(Step { name, until, .. }) = self.steps.get(at) {
            let (name, until) = (name.clone(), *until);
            for lease in self.before(&name, until)? {
                if goals.contains(&lease) {
                    return Ok(Some(self.way_to(at)));
                }
                if !self.leases.insert(lease) {
                    continue;
                }
                for claim in self.waits_of(lease)? {
                    self.step(claim.name, claim.token, Some(at));
                }
            }
            if self.rows_left == 0 {
                break;
            }
            at = at.saturating_add(1);
        }
        Ok(None)
    }

    /// Returns the leases of the claims on `name` with tokens below `until` that were not visited
    /// yet.
    fn before(&mut self, name: &Bytes, until: Revision) -> Result<Vec<LeaseId>, Fault> {
        let seen = self.seen.get(name).copied();
        if seen.is_some_and(|seen| seen >= until) {
            return Ok(Vec::new());
        }
        let from = match seen {
            Some(seen) => seen,
            None => QueueSummary::of(self.view, name)?.head,
        };
        self.seen.insert(name.clone(), until);
        let mut leases = Vec::new();
        let mut claims = Claims::from(self.view, name, from)?;
        while let Some(claim) = claims.next()? {
            if claim.token >= until || !self.spend() {
                break;
            }
            leases.push(claim.lease);
        }
        Ok(leases)
    }

    /// Returns the waiting claims of a lease.
    fn waits_of(&mut self, lease: LeaseId) -> Result<Vec<Claim>, Fault> {
        let mut waits = Vec::new();
        let mut cursor = self.view.scan(Table::LeaseKeys, &keys::lease(lease))?;
        while self.spend() {
            let Some(key) = next_key(cursor.as_mut(), lease)? else {
                break;
            };
            if lease_of(&key) != Some(lease) {
                continue;
            }
            let claim = row::of_lease(self.view, &name_of(&key), lease)?;
            waits.extend(claim.map(|(claim, _)| claim).filter(|claim| !claim.held));
        }
        Ok(waits)
    }

    fn way_to(&self, step: usize) -> Vec<Bytes> {
        let mut names = Vec::new();
        let mut at = Some(step);
        while let Some(step) = at.and_then(|at| self.steps.get(at)) {
            names.push(step.name.clone());
            debug_assert!(step.from < at, "a way leads back to its beginning");
            at = step.from;
        }
        names.reverse();
        names
    }
}

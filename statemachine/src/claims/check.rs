//! The invariants of the rows of claims, summaries and lock delays, checked over a view.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    delay::Delay,
    row::{self, Claim},
    summary::QueueSummary,
};
use crate::{
    engine::{Table, View},
    error::{Fault, damaged},
    keyspace::is_claim,
    meta::Meta,
    rows::{Family, Record, Row},
    timers::{self, Timer},
    value::ClusterTime,
};

/// The claims on one name, in queue order, and their summary.
#[derive(Debug, Default)]
struct Queue {
    summary: QueueSummary,
    claims: Vec<Claim>,
}

impl Queue {
    fn first_waiting(&self) -> Option<&Claim> {
        self.claims.iter().find(|claim| !claim.held)
    }
}

/// Every queue and every lock delay, by name.
#[derive(Debug, Default)]
struct Found {
    queues: BTreeMap<Bytes, Queue>,
    delays: BTreeMap<Bytes, ClusterTime>,
    now: ClusterTime,
}

type Verdict = Result<Result<(), String>, Fault>;

/// Checks that rows of claims follow keys, that summaries and timers follow rows, that no claim
/// holds beside one that excludes it, and that none waits that could hold.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    let found = collect(view).map_err(|fault| fault.to_string())?;
    for (name, queue) in &found.queues {
        check_queue(name, queue)?;
        for claim in &queue.claims {
            check_claim(view, claim).map_err(|fault| fault.to_string())??;
        }
        if found.is_stuck(name, queue) {
            return Err(format!("nobody is granted {name:?}, and somebody could be"));
        }
    }
    check_delays(view, &found).map_err(|fault| fault.to_string())??;
    check_timers(view, &found).map_err(|fault| fault.to_string())??;
    check_keys(view).map_err(|fault| fault.to_string())?
}

fn collect(view: &dyn View) -> Result<Found, Fault> {
    let mut found = Found {
        now: Meta::load(view)?.now,
        ..Found::default()
    };
    for (row, value) in Family::LockDelay.rows(view)? {
        found
            .delays
            .insert(row.slice(1..), Delay::decode(&value)?.until);
    }
    let (mut prefix, mut summary) = (Bytes::new(), QueueSummary::default());
    for (row, value) in Family::Claim.rows(view)? {
        let length = row::prefix_len(&row).ok_or_else(|| damaged("claim row without a name"))?;
        if length == row.len() {
            (prefix, summary) = (row, QueueSummary::decode(&value)?);
            continue;
        }
        let claim = Claim::parse(&row, length, &value)?;
        if !row.starts_with(&prefix) || prefix.is_empty() || claim.row() != row {
            return Err(damaged("claim row lies under another name"));
        }
        let queue = found.queues.entry(claim.name.clone()).or_default();
        queue.summary = summary.clone();
        queue.claims.push(claim);
    }
    Ok(found)
}

fn check_queue(name: &Bytes, queue: &Queue) -> Result<(), String> {
    let Queue { summary, claims } = queue;
    let mut counted = QueueSummary::default();
    for claim in claims {
        let waits_before = counted.waiting() > 0;
        if claim.held && (waits_before || !counted.admits(claim.mode)) {
            return Err(format!("{claim:?} must not hold"));
        }
        if claim.held && (claim.wait_until.is_some() || !claim.bundle.is_empty()) {
            return Err(format!("{claim:?} holds and waits"));
        }
        let is_bundle = claim.bundle.len() > 1
            && claim.bundle.is_sorted_by(|a, b| a < b)
            && claim.bundle.contains(name);
        if !claim.bundle.is_empty() && !is_bundle {
            return Err(format!("{claim:?} is of no such bundle"));
        }
        let is_below = claim.token < summary.head || !claim.held && claim.token < summary.front;
        if is_below {
            return Err(format!("{claim:?} lies before {summary:?}"));
        }
        counted.join(claim);
    }
    let counted = QueueSummary {
        head: summary.head,
        front: summary.front,
        ..counted
    };
    if counted == *summary {
        Ok(())
    } else {
        Err(format!("{name:?}: {summary:?}, counted {counted:?}"))
    }
}

fn check_claim(view: &dyn View, claim: &Claim) -> Verdict {
    let record = row::record(view, &claim.key)?;
    let stands =
        record.is_some_and(|record| record.create_revision == claim.token && is_claim(&record));
    if !stands {
        return Ok(Err(format!("{claim:?} has no key")));
    }
    if let Some(until) = claim.wait_until {
        let timer = Timer::WaitOver(claim.token, claim.key.clone());
        if !timers::is_set(view, until, &timer)? {
            return Ok(Err(format!("{claim:?} is never dropped")));
        }
    }
    Ok(Ok(()))
}

impl Found {
    /// Whether the first waiting claim could hold. Not checked where a timer is due and has not
    /// run.
    fn is_stuck(&self, name: &Bytes, queue: &Queue) -> bool {
        let Some(first) = queue.first_waiting() else {
            return false;
        };
        if first.is_over(self.now) {
            return false;
        }
        if first.foreign && queue.summary.held == 0 {
            return true;
        }
        if first.bundle.is_empty() {
            return self.is_free(name, queue, first);
        }
        first.bundle.iter().all(|name| {
            let queue = self.queues.get(name);
            let member = queue.and_then(|queue| {
                let of_lease = |claim: &&Claim| claim.lease == first.lease;
                queue.claims.iter().find(of_lease)
            });
            match (queue, member) {
                (Some(queue), Some(member)) if member.bundle == first.bundle => {
                    self.is_free(name, queue, member)
                }
                _ => true,
            }
        })
    }

    fn is_free(&self, name: &Bytes, queue: &Queue, claim: &Claim) -> bool {
        queue.first_waiting() == Some(claim)
            && queue.summary.admits(claim.mode)
            && !self.delays.contains_key(name)
    }
}

fn check_delays(view: &dyn View, found: &Found) -> Verdict {
    for (name, until) in &found.delays {
        if !timers::is_set(view, *until, &Timer::DelayOver(name.clone()))? {
            return Ok(Err(format!("the lock delay of {name:?} has no end")));
        }
    }
    Ok(Ok(()))
}

/// With every timer in its place, equal numbers leave no room for others.
fn check_timers(view: &dyn View, found: &Found) -> Verdict {
    let claims = found.queues.values().flat_map(|queue| &queue.claims);
    let limited = claims.filter(|claim| claim.wait_until.is_some()).count();
    let (mut waits, mut delays) = (0_usize, 0_usize);
    for (row, _) in Family::Timer.rows(view)? {
        // The kind of a timer follows its letter and its time.
        match row.get(9) {
            Some(1) => waits = waits.saturating_add(1),
            Some(2) => delays = delays.saturating_add(1),
            _ => {}
        }
    }
    if (waits, delays) == (limited, found.delays.len()) {
        Ok(Ok(()))
    } else {
        Ok(Err(format!("{waits} waits and {delays} delays are timed")))
    }
}

/// Checks that every key that was created as a claim has a row.
fn check_keys(view: &dyn View) -> Verdict {
    let mut cursor = view.scan(Table::Current, &[])?;
    while let Some((key, value)) = cursor.next()? {
        let record = Record::decode(&value)?.into_key_value(key.clone());
        let is_made = record.version == 1 && is_claim(&record);
        if is_made && row::find(view, record.create_revision, &key)?.is_none() {
            return Ok(Err(format!("{key:?} is a claim without a row")));
        }
    }
    Ok(Ok(()))
}

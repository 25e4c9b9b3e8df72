//! Queries about claims: holders, waiters, claimed names.

use bytes::Bytes;

use super::{
    acquire::{position, shown},
    delay,
    release::{holders, with_token},
    row::{self, Claim, Claims},
    summary::QueueSummary,
};
use crate::{
    engine::{Table, View},
    error::{Fault, damaged},
    keyspace::{below, lease_of, may_be_claim, name_of},
    lease,
    outcome::ClaimState,
    read::Reader,
    rows::Row,
    value::{ClusterTime, LeaseId, Revision},
};

/// Whether a claim on `name` holds under `token`. Does not read the rest of the queue.
pub(crate) fn holds(view: &dyn View, name: &[u8], token: Revision) -> Result<bool, Fault> {
    let found = with_token(view, name, token)?;
    Ok(found.iter().any(|claim| claim.held))
}

/// Whether there is any claim on `name`.
pub(crate) fn is_claimed(view: &dyn View, name: &[u8]) -> Result<bool, Fault> {
    Ok(QueueSummary::of(view, name)?.claims > 0)
}

/// Returns the leases whose claims hold `name` under `token`: one, unless another program created
/// several keys in one revision.
pub(crate) fn holders_under(
    view: &dyn View,
    name: &[u8],
    token: Revision,
) -> Result<Vec<LeaseId>, Fault> {
    let found = with_token(view, name, token)?;
    let held = found.into_iter().filter(|claim| claim.held);
    Ok(held.map(|claim| claim.lease).collect())
}

/// Returns the token of the claim that `key` stands for, if any, and whether the claim holds. Does
/// not read the rest of the queue.
pub(crate) fn behind(view: &dyn View, key: &Bytes) -> Result<Option<(Revision, bool)>, Fault> {
    if !may_be_claim(key) {
        return Ok(None);
    }
    let Some(record) = row::record(view, key)? else {
        return Ok(None);
    };
    let found = row::find(view, record.create_revision, key)?;
    Ok(found.map(|claim| (claim.token, claim.held)))
}

/// Returns how many claims on `name` wait, if at most `max` do and none of them is part of a
/// bundle.
pub(crate) fn waiting_within(view: &dyn View, name: &[u8], max: u32) -> Result<Option<u32>, Fault> {
    let summary = QueueSummary::of(view, name)?;
    let waiting = summary.waiting();
    if waiting > max {
        return Ok(None);
    }
    let mut left = waiting;
    let mut claims = Claims::from(view, name, summary.front)?;
    while left > 0
        && let Some(claim) = claims.next()?
    {
        if !claim.bundle.is_empty() {
            return Ok(None);
        }
        if !claim.held {
            left = left.saturating_sub(1);
        }
    }
    Ok(Some(waiting))
}

/// The claims on one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// The claims that hold, in the order of their tokens.
    pub holders: Vec<ClaimState>,
    /// The first claims that wait, in queue order, up to the requested number.
    pub waiters: Vec<ClaimState>,
    /// The number of all claims that wait.
    pub waiting: u32,
    /// The end of the lock delay: until then the name is not granted, because a holder was lost.
    pub delay_until: Option<ClusterTime>,
}

impl Reader<'_> {
    /// Returns the claim on `name` whose token is `token`.
    ///
    /// # Errors
    /// When the engine cannot read, or a row does not decode.
    pub fn claim(&self, name: &[u8], token: Revision) -> Result<Option<ClaimState>, Fault> {
        let mut found = with_token(self.view, name, token)?;
        found.sort_by_key(|claim| !claim.held);
        self.seen_by_clients(found.into_iter().next())
    }

    /// Whether a claim on `name` holds under `token`.
    ///
    /// # Errors
    /// As [`Reader::claim`].
    pub fn holds(&self, name: &[u8], token: Revision) -> Result<bool, Fault> {
        holds(self.view, name, token)
    }

    /// Returns the claim of `lease` on `name`.
    ///
    /// # Errors
    /// As [`Reader::claim`].
    pub fn claim_of(&self, name: &[u8], lease: LeaseId) -> Result<Option<ClaimState>, Fault> {
        let found = row::of_lease(self.view, name, lease)?;
        self.seen_by_clients(found.map(|(claim, _)| claim))
    }

    /// As [`Reader::claim_of`], but with position 0: reads a few rows, however long the queue is.
    ///
    /// # Errors
    /// As [`Reader::claim`].
    pub fn claim_without_position(
        &self,
        name: &[u8],
        lease: LeaseId,
    ) -> Result<Option<ClaimState>, Fault> {
        let found = row::of_lease(self.view, name, lease)?;
        Ok(found.map(|(claim, value)| claim.state(value, 0)))
    }

    /// Returns the first claim that holds `name`.
    ///
    /// # Errors
    /// As [`Reader::claim`].
    pub fn holder(&self, name: &[u8]) -> Result<Option<ClaimState>, Fault> {
        let first = QueueSummary::of(self.view, name)?.first(self.view, name)?;
        self.seen_by_clients(first.filter(|first| first.held))
    }

    /// Returns every claim that holds `name`, and the first `waiters_max` of those that wait.
    ///
    /// # Errors
    /// As [`Reader::claim`].
    pub fn queue(&self, name: &[u8], waiters_max: usize) -> Result<Queue, Fault> {
        let summary = QueueSummary::of(self.view, name)?;
        let now = self.meta().now;
        let mut queue = Queue {
            waiting: summary.waiting(),
            delay_until: delay::until(self.view, name)?.filter(|until| *until > now),
            ..Queue::default()
        };
        for claim in holders(self.view, name)? {
            queue.holders.push(shown(self.view, &claim, 0)?);
        }
        let mut position = summary.held;
        let mut claims = Claims::from(self.view, name, summary.front)?;
        while queue.waiters.len() < waiters_max {
            let Some(claim) = claims.next()? else {
                break;
            };
            if !claim.held {
                queue.waiters.push(shown(self.view, &claim, position)?);
                position = position.saturating_add(1);
            }
        }
        Ok(queue)
    }

    /// Returns the first claim on each of the first `max` names that begin with `prefix`, by name,
    /// and whether there are more.
    ///
    /// # Errors
    /// As [`Reader::claim`].
    pub fn claimed_names(
        &self,
        prefix: &[u8],
        max: usize,
    ) -> Result<(Vec<ClaimState>, bool), Fault> {
        let begin = row::names_prefix(prefix);
        let mut found = Vec::new();
        let mut cursor = self.view.scan(Table::Cluster, &begin)?;
        while let Some((row, summary)) = cursor.next()? {
            if !row.starts_with(&begin) {
                break;
            }
            if found.len() >= max {
                return Ok((found, true));
            }
            // The first row of a name is its summary, which has the position of the first claim.
            let summary = QueueSummary::decode(&summary)?;
            cursor.skip_to(&row::at(&row, summary.head))?;
            let first = match cursor.next()? {
                Some((claim, value)) if claim.starts_with(&row) => {
                    Claim::parse(&claim, row.len(), &value)?
                }
                _ => return Err(damaged("a summary counts claims that are not there")),
            };
            found.push(shown(self.view, &first, 0)?);
            cursor.skip_to(&row::after(&row))?;
        }
        Ok((found, false))
    }

    /// Returns the claims of `lease`, by name.
    ///
    /// # Errors
    /// As [`Reader::claim`].
    pub fn claims_of_lease(&self, lease: LeaseId) -> Result<Vec<ClaimState>, Fault> {
        let mut found = Vec::new();
        for key in lease::attached(self.view, lease)? {
            if lease_of(&key) == Some(lease) {
                found.extend(self.claim_of(&name_of(&key), lease)?);
            }
        }
        Ok(found)
    }

    /// Returns the first key below `name`, among the first `looked_max` there, that is not a claim.
    /// Programs that lock by etcd's recipe take it for a claim that never ends.
    ///
    /// # Errors
    /// As [`Reader::claim`].
    pub fn foreign_key(&self, name: &[u8], looked_max: usize) -> Result<Option<Bytes>, Fault> {
        let below = below(name);
        let mut cursor = self.view.scan(Table::Current, &below)?;
        for _ in 0..looked_max {
            let found = cursor.next_key()?.filter(|found| found.starts_with(&below));
            let Some(found) = found else {
                return Ok(None);
            };
            // Reads the records of possible claims only: values of other keys may be large.
            let is_claim = may_be_claim(&found)
                && name_of(&found) == name
                && row::record(self.view, &found)?
                    .is_some_and(|record| Some(record.lease) == lease_of(&found));
            if !is_claim {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn seen_by_clients(&self, claim: Option<Claim>) -> Result<Option<ClaimState>, Fault> {
        let Some(claim) = claim else {
            return Ok(None);
        };
        let position = position(self.view, self.meta().level, &claim)?;
        shown(self.view, &claim, position).map(Some)
    }
}

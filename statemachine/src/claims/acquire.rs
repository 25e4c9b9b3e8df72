//! Acquisition of claims: a place in the queue of one name, or of several names at once.
//!
//! Invariant: every check is made before the first write.

use bytes::Bytes;

use super::{
    deadlock, delay,
    promote::first_live_waiting,
    row::{self, Claim},
    summary::{Holding, QueueSummary},
};
use crate::{
    command::{Acquire, LeaseGrant, Put, Wait},
    engine::View,
    error::{Fault, ReadError, Refusal},
    feature::FeatureLevel,
    keyspace::{claim_key, is_reserved},
    lease,
    meta::Meta,
    outcome::{AcquireReply, ClaimState, Signal},
    price::{Budget, claim_bytes_of},
    transition::Transition,
    value::{ClusterTime, Mode, Revision, Ttl},
};

/// Most claims on one name. Each costs a command that reorders the queue one revision, and a queue
/// of this length moves too slowly to be of use.
pub const CLAIMS_PER_NAME_MAX: u32 = 10_000;

/// The greatest position reported, from [`FeatureLevel::PRICED`] on; it also stands for every
/// position beyond it. Counting further would make a command scan the whole of a long queue, and a
/// claim behind a thousand others will not be granted soon.
const POSITION_MAX: u32 = 1_000;

/// The state that a new claim would meet on one name.
#[derive(Debug)]
struct Prospect {
    /// Claims before it.
    before: u32,
    /// Whether it would hold at once.
    holds: bool,
    /// Whether it holds only once claims that have waited too long are dropped.
    drops: bool,
}

/// The result of the checks of an acquisition.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// The reply; no new claims are made.
    Answered(AcquireReply),
    /// New claims are to be made.
    Joins(Joining),
}

/// Claims to make, one on each name.
#[derive(Debug)]
pub(crate) struct Joining {
    reply: AcquireReply,
    /// Whether they hold at once.
    holds: bool,
    prospects: Vec<Prospect>,
}

impl Transition<'_> {
    /// Checks an acquisition, and grants its lease if requested. If the new claims hold in place of
    /// claims that have waited too long, their names are freed: the transition must be reconciled
    /// before [`Transition::join_all`].
    pub(crate) fn prepare_acquire(&mut self, acquire: &Acquire) -> Result<Prepared, ReadError> {
        if let Some(name) = acquire.names.iter().find(|name| is_reserved(name)) {
            return Err(Refusal::NameReserved(name.clone()).into());
        }
        check_answer(self.meta, acquire)?;
        let ttl = check_lease(self.overlay, acquire)?;
        let mut reply = AcquireReply {
            lease: acquire.lease,
            ttl,
            ..AcquireReply::default()
        };
        let present = present(self.overlay, acquire)?;
        if !present.is_empty() {
            return Ok(Prepared::Answered(self.rejoin(acquire, present, reply)?));
        }
        let mut prospects = Vec::with_capacity(acquire.names.len());
        for name in &acquire.names {
            prospects.push(prospect(self.overlay, self.meta.now, name, acquire.mode)?);
        }
        let holds = prospects.iter().all(|prospect| prospect.holds);
        if !holds {
            reply.blocker = blocker(self.overlay, self.meta, acquire, &prospects)?;
            if matches!(acquire.wait, Wait::Never | Wait::Within(Ttl(0))) {
                return Ok(Prepared::Answered(reply));
            }
            let circle = deadlock::of_waiting(self.overlay, &acquire.names, acquire.lease)?;
            if let Some(names) = circle {
                return Err(Refusal::Deadlock(names).into());
            }
        }
        lease::check_room(self.overlay, acquire.lease, acquire.names.len())?;
        if let Some(ttl) = acquire.grant {
            let id = acquire.lease;
            self.grant_lease(LeaseGrant { id, ttl }, false)?;
        }
        if holds && prospects.iter().any(|prospect| prospect.drops) {
            let names = acquire.names.iter().cloned();
            self.unreconciled.freed.extend(names);
        }
        Ok(Prepared::Joins(Joining {
            reply,
            holds,
            prospects,
        }))
    }

    /// Replies with existing claims, after setting the requested value on them. From now on no
    /// earlier call, whose client may be gone, withdraws them: claims that wait belong to this
    /// call, and claims that hold to no call, because this call cannot know whether an earlier one
    /// was answered.
    fn rejoin(
        &mut self,
        acquire: &Acquire,
        present: Vec<(Claim, Bytes)>,
        mut reply: AcquireReply,
    ) -> Result<AcquireReply, ReadError> {
        let mut change = self.change();
        for (claim, value) in &present {
            if *value != acquire.value {
                change.put(&Put {
                    key: claim.key.clone(),
                    value: acquire.value.clone(),
                    lease: claim.lease,
                    ..Put::default()
                })?;
            }
        }
        change.finish();
        for (mut claim, _) in present {
            let call = if claim.held { 0 } else { acquire.call };
            if claim.call != call {
                claim.call = call;
                claim.store(self.overlay);
            }
            let position = position(self.overlay, self.meta.level, &claim)?;
            if !claim.held && reply.blocker.is_none() {
                reply.blocker = first_before(self.overlay, &claim)?;
            }
            let state = claim.state(acquire.value.clone(), position);
            reply.claims.push(state);
        }
        Ok(reply)
    }
}

impl Transition<'_> {
    /// Makes the claims, each at the end of its queue.
    pub(crate) fn join_all(
        &mut self,
        acquire: &Acquire,
        joining: Joining,
    ) -> Result<AcquireReply, Fault> {
        let Joining {
            mut reply,
            holds,
            prospects,
        } = joining;
        debug_assert_eq!(prospects.len(), acquire.names.len(), "one for each name");
        debug_assert!(
            self.unreconciled.freed.is_empty(),
            "what stood before is dropped"
        );
        let revision = self.put_keys(acquire)?;
        debug_assert_eq!(
            revision, self.meta.revision,
            "a token is the newest revision"
        );
        let (now, level) = (self.meta.now, self.meta.level);
        for (name, prospect) in acquire.names.iter().zip(prospects) {
            let claim = claim(acquire, name, revision, holds, now);
            self.join_queue(&claim)?;
            if holds {
                let granted = Signal::Granted(claim.signalled(0));
                self.effects.signals.push(granted);
            }
            let position = prospect.before.min(position_max(level));
            let state = claim.state(acquire.value.clone(), position);
            reply.claims.push(state);
        }
        Ok(reply)
    }

    /// Creates the keys, in one revision.
    fn put_keys(&mut self, acquire: &Acquire) -> Result<Revision, Fault> {
        let keys: Vec<Bytes> = acquire
            .names
            .iter()
            .map(|name| claim_key(name, acquire.lease))
            .collect();
        // An existing key is not a claim. It is deleted first, because the token must be a new
        // revision.
        let mut change = self.change();
        for key in &keys {
            change.delete_key(key.clone())?;
        }
        change.finish();
        let mut change = self.change();
        for key in keys {
            change.put(&Put {
                key,
                value: acquire.value.clone(),
                lease: acquire.lease,
                ..Put::default()
            })?;
        }
        let revision = change.seen();
        change.finish();
        Ok(revision)
    }
}

/// Refuses claims that do not fit in a reply, each with the value.
fn check_answer(meta: &Meta, acquire: &Acquire) -> Result<(), Refusal> {
    let mut budget = Budget::of_claims(meta);
    let rest = acquire.value.len().saturating_add(acquire.principal.len());
    for name in &acquire.names {
        budget.answer(claim_bytes_of(&claim_key(name, acquire.lease), rest))?;
    }
    Ok(())
}

/// Returns the time to live of the lease, which exists or can be granted.
fn check_lease(view: &dyn View, acquire: &Acquire) -> Result<Ttl, ReadError> {
    let found = lease::find(view, acquire.lease)?;
    match (acquire.grant, found) {
        (Some(ttl), None) if acquire.lease.is_some() => Ok(ttl),
        (Some(_), _) => Err(Refusal::LeaseExists.into()),
        (None, Some(lease)) => Ok(lease.ttl),
        (None, None) => Err(Refusal::LeaseNotFound.into()),
    }
}

/// Returns the claims that the lease already has on the names. Refused unless they may be the
/// reply; claims on only some names of a bundle may not.
fn present(view: &dyn View, acquire: &Acquire) -> Result<Vec<(Claim, Bytes)>, ReadError> {
    let mut present = Vec::new();
    for name in &acquire.names {
        present.extend(row::of_lease(view, name, acquire.lease)?);
    }
    match present.first() {
        Some((claim, _)) if !acquire.rejoin || present.len() != acquire.names.len() => {
            Err(Refusal::AlreadyClaimed(claim.name.clone()).into())
        }
        _ => Ok(present),
    }
}

/// Returns the first claim of the queue, if it is before this claim.
fn first_before(view: &dyn View, claim: &Claim) -> Result<Option<ClaimState>, Fault> {
    let first = QueueSummary::of(view, &claim.name)?.first(view, &claim.name)?;
    let first = first.filter(|first| first.token < claim.token);
    first.map(|first| shown(view, &first, 0)).transpose()
}

fn prospect(
    view: &dyn View,
    now: ClusterTime,
    name: &Bytes,
    mode: Mode,
) -> Result<Prospect, ReadError> {
    let summary = QueueSummary::of(view, name)?;
    if let Mode::Permits { limit, .. } = mode
        && summary.permits > 0
        && summary.limit != limit
    {
        return Err(Refusal::PermitsDiffer(Box::new((name.clone(), summary.limit))).into());
    }
    if summary.claims >= CLAIMS_PER_NAME_MAX {
        return Err(Refusal::QueueFull(name.clone()).into());
    }
    let holds = summary.admits(mode)
        && first_live_waiting(view, name, &summary, now)?.is_none()
        && !delay::is_on(view, name, now)?;
    Ok(Prospect {
        before: summary.claims,
        holds,
        drops: summary.waiting() > 0,
    })
}

/// Returns the first claim that blocks a new one, on the first name that the new one cannot hold.
fn blocker(
    view: &dyn View,
    meta: &Meta,
    acquire: &Acquire,
    prospects: &[Prospect],
) -> Result<Option<ClaimState>, Fault> {
    let mut names = acquire.names.iter().zip(prospects);
    let Some((name, _)) = names.find(|(_, prospect)| !prospect.holds) else {
        return Ok(None);
    };
    let summary = QueueSummary::of(view, name)?;
    let claim = if summary.holding != Holding::Free && !summary.admits(acquire.mode) {
        // All holders hold in one mode: what excludes one of them excludes the first.
        summary.first(view, name)?
    } else {
        first_live_waiting(view, name, &summary, meta.now)?
    };
    // A claim that holds is shown without a position, whatever is passed here.
    let position = summary.held.min(position_max(meta.level));
    claim.map(|claim| shown(view, &claim, position)).transpose()
}

fn claim(acquire: &Acquire, name: &Bytes, token: Revision, held: bool, now: ClusterTime) -> Claim {
    let wait_until = match acquire.wait {
        Wait::Within(wait) if !held => Some(now.after(wait)),
        Wait::Within(_) | Wait::Never | Wait::Always => None,
    };
    let is_bundle = !held && acquire.names.len() > 1;
    Claim {
        name: name.clone(),
        key: claim_key(name, acquire.lease),
        lease: acquire.lease,
        token,
        mode: acquire.mode,
        held,
        foreign: false,
        since: now,
        wait_until,
        lock_delay: acquire.lock_delay,
        principal: acquire.principal.clone(),
        bundle: if is_bundle {
            acquire.names.clone()
        } else {
            Vec::new()
        },
        call: acquire.call,
    }
}

fn position_max(level: FeatureLevel) -> u32 {
    if level >= FeatureLevel::PRICED {
        POSITION_MAX
    } else {
        u32::MAX
    }
}

/// Returns how many claims are before one that waits, up to the maximum; 0 for one that holds.
pub(super) fn position(view: &dyn View, level: FeatureLevel, claim: &Claim) -> Result<u32, Fault> {
    if claim.held {
        return Ok(0);
    }
    let max = position_max(level);
    let summary = QueueSummary::of(view, &claim.name)?;
    let mut position = summary.held;
    let mut claims = row::Claims::from(view, &claim.name, summary.front)?;
    while position < max
        && let Some(before) = claims.next()?
        && before.key != claim.key
    {
        if !before.held {
            position = position.saturating_add(1);
        }
    }
    Ok(position.min(max))
}

/// Returns the position of the claim behind one at this position.
pub(super) fn next_position(level: FeatureLevel, before: u32) -> u32 {
    before.saturating_add(1).min(position_max(level))
}

/// Returns a claim as clients see it, with the value of its key.
pub(super) fn shown(view: &dyn View, claim: &Claim, position: u32) -> Result<ClaimState, Fault> {
    Ok(claim.state(row::value(view, claim)?, position))
}

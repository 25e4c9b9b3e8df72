//! Release of claims, and changes of their values, by their holders or by force.

use bytes::Bytes;

use super::{
    acquire::{next_position, position, shown},
    row::{self, Claim, Claims},
    summary::QueueSummary,
};
use crate::{
    command::Put,
    engine::View,
    error::{Fault, ReadError, Refusal, StaleToken},
    outcome::{ClaimState, Signal},
    price::Budget,
    transition::{EndReason, Transition},
    value::{LeaseId, Revision},
};

/// Returns the claims on `name` whose token is `token`: one, unless another program created several
/// keys in one revision.
pub(super) fn with_token(
    view: &dyn View,
    name: &[u8],
    token: Revision,
) -> Result<Vec<Claim>, Fault> {
    let mut found = Vec::new();
    let mut claims = Claims::from(view, name, token)?;
    while let Some(claim) = claims.next()? {
        if claim.token != token {
            break;
        }
        found.push(claim);
    }
    Ok(found)
}

/// Returns the claim that holds `name` under `token`.
pub(super) fn holder(view: &dyn View, name: &Bytes, token: Revision) -> Result<Claim, ReadError> {
    let found = with_token(view, name, token)?;
    match found.into_iter().find(|claim| claim.held) {
        Some(claim) => Ok(claim),
        None => Err(not_holder(view, name, token)?.into()),
    }
}

fn not_holder(view: &dyn View, name: &Bytes, yours: Revision) -> Result<Refusal, Fault> {
    let first = QueueSummary::of(view, name)?.first(view, name)?;
    let current = first.filter(|first| first.held).map(|first| first.token);
    Ok(Refusal::NotHolder(Box::new(StaleToken {
        name: name.clone(),
        yours,
        current: current.unwrap_or_default(),
    })))
}

impl Transition<'_> {
    /// Releases the claim that holds under `token`.
    pub(crate) fn release(&mut self, name: &Bytes, token: Revision) -> Result<(), ReadError> {
        let claim = holder(self.overlay, name, token)?;
        let mut change = self.change();
        change.delete_key(claim.key)?;
        change.finish();
        Ok(())
    }

    /// Removes the claim of a lease from the queue, if it belongs to `call` or `call` is zero.
    /// Returns whether there was one.
    pub(crate) fn withdraw(
        &mut self,
        name: &Bytes,
        lease: LeaseId,
        call: u64,
    ) -> Result<bool, Fault> {
        let found = row::of_lease(self.overlay, name, lease)?.map(|(claim, _)| claim);
        let Some(claim) = found.filter(|claim| call == 0 || claim.call == call) else {
            return Ok(false);
        };
        let mut change = self.change();
        change.delete_key(claim.key)?;
        change.finish();
        Ok(true)
    }

    /// Replaces the value of the claim that holds under `token`.
    pub(crate) fn proclaim(
        &mut self,
        name: &Bytes,
        token: Revision,
        value: &Bytes,
    ) -> Result<(), ReadError> {
        let claim = holder(self.overlay, name, token)?;
        self.put_alone(&Put {
            key: claim.key,
            value: value.clone(),
            lease: claim.lease,
            ..Put::default()
        })?;
        Ok(())
    }

    /// Ends the claim with `token`, or every claim that holds if `token` is zero.
    pub(crate) fn force_release(
        &mut self,
        name: &Bytes,
        token: Revision,
        why: &str,
    ) -> Result<Vec<ClaimState>, ReadError> {
        let claims = if token == Revision(0) {
            holders(self.overlay, name)?
        } else {
            with_token(self.overlay, name, token)?
        };
        if claims.is_empty() {
            return Err(not_holder(self.overlay, name, token)?.into());
        }
        let level = self.meta.level;
        let mut budget = Budget::of_claims(self.meta);
        let mut ended = Vec::new();
        let mut place = None;
        for claim in &claims {
            // Claims with one token are adjacent: only the position of the first that waits is
            // counted.
            let at = match place {
                None => position(self.overlay, level, claim)?,
                Some(before) => next_position(level, before),
            };
            place = (!claim.held).then_some(at);
            let state = shown(self.overlay, claim, at)?;
            budget.claim(&state)?;
            ended.push(state);
        }
        self.effects.signals.push(Signal::Forced(why.to_owned()));
        let mut change = self.change_for(EndReason::FORCED);
        for claim in claims {
            change.delete_key(claim.key)?;
        }
        change.finish();
        Ok(ended)
    }
}

/// Returns every claim that holds `name`, in queue order.
pub(super) fn holders(view: &dyn View, name: &[u8]) -> Result<Vec<Claim>, Fault> {
    let summary = QueueSummary::of(view, name)?;
    let mut holders = Vec::new();
    if summary.held == 0 {
        return Ok(holders);
    }
    let mut claims = Claims::from(view, name, summary.head)?;
    while let Some(claim) = claims.next()? {
        if !claim.held {
            break;
        }
        holders.push(claim);
    }
    Ok(holders)
}

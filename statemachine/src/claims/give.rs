//! Giving up claims, and changing their value: by whoever has them, or by force.

use bytes::Bytes;

use super::{
    acquire::{next_position, position, shown},
    row::{self, Claim, Claims},
    settle::{self, Loss, Settling},
    tally::Tally,
};
use crate::{
    command::Put,
    effects::Effects,
    engine::View,
    error::{Fault, ReadError, Refusal, StaleToken},
    kv::Change,
    meta::Meta,
    outcome::{ClaimState, Signal},
    overlay::Overlay,
    price::Budget,
    types::{LeaseId, Revision},
};

/// The claims on `name` whose token is `token`: one, unless another program created several keys in
/// one revision.
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

/// The claim on `name` that `token` holds.
pub(super) fn holder(view: &dyn View, name: &Bytes, token: Revision) -> Result<Claim, ReadError> {
    let found = with_token(view, name, token)?;
    match found.into_iter().find(|claim| claim.held) {
        Some(claim) => Ok(claim),
        None => Err(not_holder(view, name, token)?.into()),
    }
}

fn not_holder(view: &dyn View, name: &Bytes, yours: Revision) -> Result<Refusal, Fault> {
    let first = Tally::of(view, name)?.first(view, name)?;
    let current = first.filter(|first| first.held).map(|first| first.token);
    Ok(Refusal::NotHolder(Box::new(StaleToken {
        name: name.clone(),
        yours,
        current: current.unwrap_or_default(),
    })))
}

/// Gives back what `token` holds. The rows follow when the command is settled.
pub(super) fn release(
    overlay: &mut Overlay,
    meta: &mut Meta,
    name: &Bytes,
    token: Revision,
    effects: &mut Effects,
) -> Result<(), ReadError> {
    let claim = holder(overlay, name, token)?;
    Settling::new(overlay, meta, effects).delete_keys([claim.key])?;
    Ok(())
}

/// Takes the claim of a lease out of the queue; says whether there was one.
pub(super) fn withdraw(
    overlay: &mut Overlay,
    meta: &mut Meta,
    name: &Bytes,
    (lease, call): (LeaseId, u64),
    effects: &mut Effects,
) -> Result<bool, Fault> {
    let found = row::of_lease(overlay, name, lease)?.map(|(claim, _)| claim);
    let Some(claim) = found.filter(|claim| call == 0 || claim.call == call) else {
        return Ok(false);
    };
    Settling::new(overlay, meta, effects).delete_keys([claim.key])?;
    Ok(true)
}

/// Replaces the value of the claim that `token` holds.
pub(super) fn proclaim(
    overlay: &mut Overlay,
    meta: &mut Meta,
    name: &Bytes,
    token: Revision,
    value: &Bytes,
    effects: &mut Effects,
) -> Result<(), ReadError> {
    let claim = holder(overlay, name, token)?;
    let mut change = Change::new(overlay, meta);
    change.put(&Put {
        key: claim.key,
        value: value.clone(),
        lease: claim.lease,
        ..Put::default()
    })?;
    effects.events.append(&mut change.finish());
    Ok(())
}

/// Ends the claim with `token`, or every claim that holds when that is zero.
pub(super) fn force(
    overlay: &mut Overlay,
    meta: &mut Meta,
    (name, token): (&Bytes, Revision),
    why: &str,
    effects: &mut Effects,
) -> Result<Vec<ClaimState>, ReadError> {
    let claims = if token == Revision(0) {
        holders(overlay, name)?
    } else {
        with_token(overlay, name, token)?
    };
    if claims.is_empty() {
        return Err(not_holder(overlay, name, token)?.into());
    }
    let mut budget = Budget::of_claims(meta);
    let mut ended = Vec::new();
    let mut place = None;
    for claim in &claims {
        // Claims with one token stand side by side: only the first that waits has to be counted to.
        let at = match place {
            None => position(overlay, meta.level, claim)?,
            Some(before) => next_position(meta.level, before),
        };
        place = (!claim.held).then_some(at);
        let state = shown(overlay, claim, at)?;
        budget.claim(&state)?;
        ended.push(state);
    }
    effects.signals.push(Signal::Forced(why.to_owned()));
    let keys = claims.into_iter().map(|claim| claim.key);
    Settling::new(overlay, meta, effects).delete_keys(keys)?;
    settle::settle(overlay, meta, Loss::FORCED, effects)?;
    Ok(ended)
}

/// Every claim that holds `name`, in the order of the queue.
pub(super) fn holders(view: &dyn View, name: &[u8]) -> Result<Vec<Claim>, Fault> {
    let tally = Tally::of(view, name)?;
    let mut holders = Vec::new();
    if tally.held == 0 {
        return Ok(holders);
    }
    let mut claims = Claims::from(view, name, tally.head)?;
    while let Some(claim) = claims.next()? {
        if !claim.held {
            break;
        }
        holders.push(claim);
    }
    Ok(holders)
}

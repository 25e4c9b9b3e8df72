//! Locks and elections: who holds, who waits, who is next.
//!
//! A claim is a key `<name>/<lease in hexadecimal>` attached to that lease; the claims on a name,
//! in the order of their keys' create revisions, are its queue. Keys that other programs make so,
//! as etcd's clients do, are claims too. What else there is to say of a claim is in a row of its
//! own (`row.rs`), and what there is to say of a queue in its tally (`tally.rs`).
//!
//! Invariant: whether a claim holds is decided here alone, while a command is applied, and every
//! command leaves nobody waiting who could hold.

mod acquire;
mod check;
mod deadlock;
mod delay;
mod give;
mod key;
mod promote;
mod read;
mod reorder;
mod row;
mod settle;
mod tally;

use bytes::Bytes;

pub use self::{
    acquire::CLAIMS_PER_NAME_MAX,
    key::{claim_key, claimed_name},
    read::Queue,
    reorder::{MOVED_BYTES_MAX, MOVES_MAX},
};
pub(crate) use self::{
    check::check,
    key::{is_claim, may_be_claim},
    read::{behind, holders_under, holds, is_claimed, waiting_within},
    settle::{Loss, settle},
};
use crate::{
    command::ClaimCommand,
    effects::Effects,
    engine::View,
    error::{Fault, ReadError},
    meta::Meta,
    outcome::Reply,
    overlay::Overlay,
    types::{LeaseId, Revision},
};

pub(crate) fn apply(
    overlay: &mut Overlay,
    meta: &mut Meta,
    command: &ClaimCommand,
    effects: &mut Effects,
) -> Result<Reply, ReadError> {
    match command {
        ClaimCommand::Acquire(acquire) => {
            acquire::acquire(overlay, meta, acquire, effects).map(Reply::Acquire)
        }
        ClaimCommand::Release { name, token } => {
            give::release(overlay, meta, name, *token, effects)?;
            Ok(Reply::Done)
        }
        ClaimCommand::Withdraw { name, lease, call } => {
            let found = give::withdraw(overlay, meta, name, (*lease, *call), effects)?;
            Ok(Reply::Withdraw(found))
        }
        ClaimCommand::Transfer {
            name,
            token,
            to,
            principal,
        } => {
            let held = (name, *token);
            let claim = reorder::transfer(overlay, meta, held, *to, principal, effects)?;
            Ok(Reply::Claim(Box::new(claim)))
        }
        ClaimCommand::HandOver { name, token, to } => {
            let claim = reorder::hand_over(overlay, meta, (name, *token), *to, effects)?;
            Ok(Reply::Claim(Box::new(claim)))
        }
        ClaimCommand::Proclaim { name, token, value } => {
            give::proclaim(overlay, meta, name, *token, value, effects)?;
            Ok(Reply::Done)
        }
        ClaimCommand::ForceRelease { name, token, why } => {
            give::force(overlay, meta, (name, *token), why, effects).map(Reply::ForceRelease)
        }
    }
}

/// The claim of `key`, created in revision `token`, has waited long enough.
pub(crate) fn wait_over(
    overlay: &mut Overlay,
    meta: &mut Meta,
    token: Revision,
    key: &Bytes,
    effects: &mut Effects,
) -> Result<(), Fault> {
    let Some(claim) = row::find(overlay, token, key)? else {
        return Ok(());
    };
    if claim.is_over(meta.now) {
        settle::Settling::new(overlay, meta, effects).delete_keys([claim.key])?;
        settle(overlay, meta, Loss::WAIT_OVER, effects)?;
    }
    Ok(())
}

/// The lock delay of `name` is over.
pub(crate) fn delay_over(
    overlay: &mut Overlay,
    meta: &mut Meta,
    name: &Bytes,
    effects: &mut Effects,
) -> Result<(), Fault> {
    if delay::end(overlay, name, meta.now)? {
        let mut settling = settle::Settling::new(overlay, meta, effects);
        settling.unsettled.insert(name.clone());
        settling.run(Loss::RELEASED)?;
    }
    Ok(())
}

/// The key of the claim that `lease` has on `name`.
pub(crate) fn key_of(view: &dyn View, name: &[u8], lease: LeaseId) -> Result<Option<Bytes>, Fault> {
    Ok(row::of_lease(view, name, lease)?.map(|(claim, _)| claim.key))
}

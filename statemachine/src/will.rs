//! Last wills: transactions that run when a lease expires or a claim is lost.
//!
//! `W`, ordered BE64 lease, the key of a claim or nothing: the will as `codec` encodes it.
//! Invariant: a will is there only while its lease is, and if it goes with a claim, while that is.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    claims, codec,
    command::{Will, WillSet},
    effects::Effects,
    engine::{Table, View},
    error::{Fault, ReadError, Refusal},
    guard,
    keys::{self, WILL_PREFIX},
    lease,
    meta::Meta,
    outcome::Event,
    overlay::Overlay,
    read::Reader,
    txn,
    types::LeaseId,
};

/// A claim that is gone, and whose will is to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostClaim<'a> {
    /// The key that stood for it.
    pub(crate) key: &'a Bytes,
    /// Whether it held. Nobody else was granted its lock since.
    pub(crate) held: bool,
}

/// Begins the row of every will of a lease, and is the row of the one that goes with no claim.
fn row(lease: LeaseId, claim: Option<&Bytes>) -> Bytes {
    let claim = claim.map_or::<&[u8], _>(&[], |claim| claim);
    let mut row = BytesMut::with_capacity(claim.len().saturating_add(9));
    row.put_u8(WILL_PREFIX);
    row.put_i64(keys::ordered(lease));
    row.put_slice(claim);
    row.freeze()
}

/// Sets or removes a will. Setting it again replaces it.
pub(crate) fn set(overlay: &mut Overlay, command: &WillSet) -> Result<(), ReadError> {
    if lease::find(overlay, command.lease)?.is_none() {
        return Err(Refusal::LeaseNotFound.into());
    }
    let claim = match &command.lock {
        None => None,
        Some(name) => match claims::key_of(overlay, name, command.lease)? {
            None => return Err(Refusal::NotClaimed(name.clone()).into()),
            key => key,
        },
    };
    let row = row(command.lease, claim.as_ref());
    match &command.will {
        Some(will) => overlay.put(Table::Cluster, row, codec::encode_will(will)),
        None => overlay.delete(Table::Cluster, row),
    }
    Ok(())
}

/// Runs the will of `lease` (`claim` is `None`), or the one that goes with that claim of it, as a
/// revision of its own, and removes it. A guard that does not hold or that a fence policy misses,
/// or an operation that would be refused, makes it do nothing.
pub(crate) fn run(
    overlay: &mut Overlay,
    meta: &mut Meta,
    lease: LeaseId,
    claim: Option<LostClaim<'_>>,
    effects: &mut Effects,
) -> Result<(), Fault> {
    let row = row(lease, claim.map(|claim| claim.key));
    let Some(encoded) = overlay.get(Table::Cluster, &row)? else {
        return Ok(());
    };
    overlay.delete(Table::Cluster, row);
    let will = codec::decode_will(encoded)?;
    let lost = claim.filter(|claim| claim.held);
    let lost = lost.and_then(|claim| claims::claimed_name(claim.key));
    match execute(overlay, meta, &will, lost.as_ref()) {
        Ok(mut events) => {
            effects.events.append(&mut events);
            Ok(())
        }
        Err(ReadError::Refused(_)) => Ok(()),
        Err(ReadError::Fault(fault)) => Err(fault),
    }
}

/// What is refused changes nothing. `lost` is the lock that was
/// held by the claim that the will goes with.
fn execute(
    overlay: &mut Overlay,
    meta: &mut Meta,
    will: &Will,
    lost: Option<&Bytes>,
) -> Result<Vec<Event>, ReadError> {
    if meta.corrupt {
        return Err(Refusal::Corrupt.into());
    }
    if meta.no_space && will.txn.contains_put() {
        return Err(Refusal::NoSpace.into());
    }
    let reader = Reader::over(overlay, *meta);
    guard::check(&reader, &will.guards)?;
    overlay.policies.check_will(&reader, will, lost)?;
    let (_, events) = txn::execute(overlay, meta, &will.txn)?;
    Ok(events)
}

/// Removes every will of a lease that ended, or the one of a claim that was given back.
pub(crate) fn remove(
    overlay: &mut Overlay,
    lease: LeaseId,
    claim: Option<&Bytes>,
) -> Result<(), Fault> {
    let row = row(lease, claim);
    if claim.is_some() {
        // Most claims have no will: looking for one costs less than a deletion that is stored.
        if overlay.get(Table::Cluster, &row)?.is_some() {
            overlay.delete(Table::Cluster, row);
        }
        return Ok(());
    }
    for found in of_lease(overlay, &row)? {
        overlay.delete(Table::Cluster, found);
    }
    Ok(())
}

/// Whether a lease has a will.
pub(crate) fn exists(view: &dyn View, lease: LeaseId) -> Result<bool, Fault> {
    let prefix = row(lease, None);
    let mut cursor = view.scan(Table::Cluster, &prefix)?;
    let first = cursor.next_key()?;
    Ok(first.is_some_and(|row| row.starts_with(&prefix)))
}

fn of_lease(view: &dyn View, prefix: &Bytes) -> Result<Vec<Bytes>, Fault> {
    let mut found = Vec::new();
    let mut cursor = view.scan(Table::Cluster, prefix)?;
    while let Some(row) = cursor.next_key()? {
        if !row.starts_with(prefix) {
            break;
        }
        found.push(row);
    }
    Ok(found)
}

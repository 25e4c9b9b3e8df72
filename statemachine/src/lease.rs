//! Leases: grant, renew, revoke, expire.
//!
//! Nothing here watches time: a lease ends by a command only. Invariant: a lease that was renewed
//! after the leader looked at it does not expire by what the leader saw.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    claims::{self, Loss},
    command::{LeaseExpiry, LeaseGrant},
    effects::Effects,
    engine::{Table, View},
    error::{Fault, ReadError, Refusal},
    keys::{self, damaged, split_u64},
    kv::{Change, SLICE_BYTES_MAX, SLICE_ROWS_MAX},
    meta::Meta,
    once,
    overlay::Overlay,
    registry,
    types::{ClusterTime, LeaseId, Ttl},
    will,
};

/// A promise to keep keys while somebody renews it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// The time to live that every renewal gives it anew.
    pub ttl: Ttl,
    /// When it may be ended.
    pub deadline: ClusterTime,
    /// Counts renewals, from 1 at the grant.
    pub generation: u64,
}

impl Lease {
    pub(crate) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(24);
        row.put_u64(self.ttl.0);
        row.put_u64(self.deadline.0);
        row.put_u64(self.generation);
        row.freeze()
    }

    pub(crate) fn decode(id: LeaseId, row: &[u8]) -> Result<Self, Fault> {
        let parsed = (|| {
            let (ttl, rest) = split_u64(row)?;
            let (deadline, rest) = split_u64(rest)?;
            let (generation, rest) = split_u64(rest)?;
            let (ttl, deadline) = (Ttl(ttl), ClusterTime(deadline));
            rest.is_empty().then_some(Self {
                id,
                ttl,
                deadline,
                generation,
            })
        })();
        parsed.ok_or_else(|| damaged("lease row is not of its length"))
    }
}

/// The lease `id` of `view`.
pub(crate) fn find(view: &dyn View, id: LeaseId) -> Result<Option<Lease>, Fault> {
    let row = view.get(Table::Leases, &keys::lease(id))?;
    row.map(|row| Lease::decode(id, &row)).transpose()
}

/// The keys attached to the lease `id`, in order.
pub(crate) fn attached(view: &dyn View, id: LeaseId) -> Result<Vec<Bytes>, Fault> {
    let mut found = Vec::new();
    let mut cursor = view.scan(Table::LeaseKeys, &keys::lease(id))?;
    while let Some((row, _)) = cursor.next()? {
        match keys::read_lease_key(&row, id) {
            Some(key) => found.push(key),
            None => break,
        }
    }
    Ok(found)
}

/// The first keys attached to the lease `id` whose rows are at least `from`: a slice that is not
/// empty unless there are none.
pub(crate) fn attached_slice(
    view: &dyn View,
    id: LeaseId,
    from: &[u8],
) -> Result<Vec<Bytes>, Fault> {
    let (mut found, mut bytes) = (Vec::new(), 0_usize);
    let mut cursor = view.scan(Table::LeaseKeys, from)?;
    while found.len() < SLICE_ROWS_MAX && bytes < SLICE_BYTES_MAX {
        let row = cursor.next_key()?;
        let Some(key) = row.and_then(|row| keys::read_lease_key(&row, id)) else {
            break;
        };
        bytes = bytes.saturating_add(key.len());
        found.push(key);
    }
    Ok(found)
}

/// Whether at most `max` keys are attached to the lease `id`.
pub(crate) fn attached_within(view: &dyn View, id: LeaseId, max: usize) -> Result<bool, Fault> {
    let mut cursor = view.scan(Table::LeaseKeys, &keys::lease(id))?;
    for _ in 0..=max {
        match cursor.next_key()? {
            Some(row) if keys::read_lease_key(&row, id).is_some() => {}
            _ => return Ok(true),
        }
    }
    Ok(false)
}

pub(crate) fn grant(
    overlay: &mut Overlay,
    meta: &mut Meta,
    grant: LeaseGrant,
) -> Result<(), ReadError> {
    // "No lease" cannot be created; the border turns such a request away.
    if !grant.id.is_some() || find(overlay, grant.id)?.is_some() {
        return Err(Refusal::LeaseExists.into());
    }
    let LeaseGrant { id, ttl } = grant;
    let lease = Lease {
        id,
        ttl,
        deadline: meta.now.after(ttl),
        generation: 1,
    };
    overlay.put(Table::Leases, keys::lease(id), lease.encode());
    meta.leases = meta.leases.saturating_add(1);
    Ok(())
}

/// Ends a lease, and its keys with it, in one revision. Its wills do not run, and it leaves no
/// lock delay: it was ended, it did not expire.
pub(crate) fn revoke(
    overlay: &mut Overlay,
    meta: &mut Meta,
    id: LeaseId,
    effects: &mut Effects,
) -> Result<(), ReadError> {
    if find(overlay, id)?.is_none() {
        return Err(Refusal::LeaseNotFound.into());
    }
    end(overlay, meta, id, effects)?;
    will::remove(overlay, id, None)?;
    claims::settle(overlay, meta, Loss::REVOKED, effects)?;
    Ok(())
}

fn end(
    overlay: &mut Overlay,
    meta: &mut Meta,
    id: LeaseId,
    effects: &mut Effects,
) -> Result<(), Fault> {
    let mut change = Change::new(overlay, meta);
    change.delete_attached(id)?;
    effects.events.append(&mut change.finish());
    overlay.delete(Table::Leases, keys::lease(id));
    meta.leases = meta.leases.saturating_sub(1);
    once::end_session(overlay, id)
}

pub(crate) fn renew(
    overlay: &mut Overlay,
    now: ClusterTime,
    ids: &[LeaseId],
) -> Result<Vec<Option<Ttl>>, Fault> {
    let mut renewed = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(mut lease) = find(overlay, *id)? else {
            renewed.push(None);
            continue;
        };
        lease.deadline = now.after(lease.ttl);
        lease.generation = lease.generation.saturating_add(1);
        overlay.put(Table::Leases, keys::lease(*id), lease.encode());
        renewed.push(Some(lease.ttl));
    }
    Ok(renewed)
}

/// Ends those leases that the leader saw rightly. Each that has keys makes its own revision, and so
/// does each will.
pub(crate) fn expire(
    overlay: &mut Overlay,
    meta: &mut Meta,
    expiries: &[LeaseExpiry],
    effects: &mut Effects,
) -> Result<Vec<LeaseId>, Fault> {
    let mut ended = Vec::new();
    for expiry in expiries {
        let Some(lease) = find(overlay, expiry.id)? else {
            continue;
        };
        let due = lease.deadline <= meta.now
            && lease.generation == expiry.generation
            && meta.applied_term == expiry.term;
        if !due || registry::brake(overlay, meta, &lease, effects)? {
            continue;
        }
        end(overlay, meta, lease.id, effects)?;
        // Grants what became free, and runs the wills of the claims that were lost.
        claims::settle(overlay, meta, Loss::EXPIRED, effects)?;
        will::run(overlay, meta, lease.id, None, effects)?;
        claims::settle(overlay, meta, Loss::RELEASED, effects)?;
        will::remove(overlay, lease.id, None)?;
        ended.push(lease.id);
    }
    Ok(ended)
}

//! Leases: their rows, grant and renewal, and the keys attached to them.
//!
//! The end of a lease, with its keys, claims, wills and session, is above this module; see
//! `execute/lease_end.rs`. Invariant: once its keys are counted, the count of a lease is exact or
//! [`KeyCount::Beyond`].

use bytes::Bytes;

use crate::{
    command::LeaseGrant,
    encoding::{Decoder, Encoder, Malformed, flags},
    engine::{Table, View},
    error::{Fault, ReadError, Refusal, damaged},
    feature::FeatureLevel,
    meta::Meta,
    read::Reader,
    rows::{Overlay, SLICE_BYTES_MAX, SLICE_ROWS_MAX, keys},
    transition::Transition,
    value::{ClusterTime, LeaseId, Limit, Ttl, limit::LEASE_KEYS_MAX},
};

/// A promise to keep keys for as long as a client renews it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The id.
    pub id: LeaseId,
    /// The time to live, which starts over with every renewal.
    pub ttl: Ttl,
    /// When it may expire.
    pub deadline: ClusterTime,
    /// Counts renewals, from 1 at the grant.
    pub generation: u64,
    /// The number of attached keys. `None` until they are counted: leases from before
    /// [`FeatureLevel::PRICED`] are counted when another key is attached.
    pub keys: Option<KeyCount>,
    /// What it may have beside keys. Stored only with the number of keys; until then it may have
    /// all.
    pub may_have: MayHave,
}

/// What a lease may have beside keys. What is not set is not looked for when the lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MayHave {
    /// A will, of the lease or of a claim.
    pub will: bool,
    /// A session.
    pub session: bool,
}

impl MayHave {
    /// The value for a lease of which nothing is known.
    pub const ALL: Self = Self {
        will: true,
        session: true,
    };
    const WILL_BIT: u8 = 1;
    const SESSION_BIT: u8 = 1 << 1;
}

/// The number of keys attached to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCount {
    /// Exactly this many.
    Exact(u64),
    /// It had more keys than allowed, and still may; no more can be attached.
    Beyond,
}

/// The stored form of [`KeyCount::Beyond`].
const BEYOND: u64 = u64::MAX;

impl KeyCount {
    /// Returns the count after attaching or detaching one key.
    fn changed(self, is_more: bool) -> Self {
        match self {
            Self::Exact(keys) if is_more => Self::Exact(keys.saturating_add(1)),
            Self::Exact(keys) => {
                debug_assert!(keys > 0, "a key that is taken off was counted");
                Self::Exact(keys.saturating_sub(1))
            }
            Self::Beyond => Self::Beyond,
        }
    }

    /// Returns the number of rows that the end of the lease is priced at.
    pub(crate) fn rows(self) -> u64 {
        match self {
            Self::Exact(keys) => keys,
            Self::Beyond => LEASE_KEYS_MAX,
        }
    }
}

impl Lease {
    /// TTL, deadline, generation and, once counted, the number of keys (BE64 each), and a byte of
    /// [`MayHave`] flags.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Encoder::with_capacity(if self.keys.is_some() { 33 } else { 24 });
        out.fixed(self.ttl);
        out.fixed(self.deadline);
        out.fixed(self.generation);
        if let Some(keys) = self.keys {
            out.fixed(match keys {
                KeyCount::Exact(keys) => keys,
                KeyCount::Beyond => BEYOND,
            });
            out.byte(flags(&[
                (self.may_have.will, MayHave::WILL_BIT),
                (self.may_have.session, MayHave::SESSION_BIT),
            ]));
        }
        out.finish()
    }

    pub(crate) fn decode(id: LeaseId, row: &Bytes) -> Result<Self, Fault> {
        Self::read(id, &mut Decoder::new(row))
            .map_err(|_| damaged("lease row is not of its length"))
    }

    fn read(id: LeaseId, input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut lease = Self {
            id,
            ttl: input.fixed()?,
            deadline: input.fixed()?,
            generation: input.fixed()?,
            keys: None,
            may_have: MayHave::ALL,
        };
        if !input.is_at_end() {
            lease.keys = Some(match input.fixed()? {
                BEYOND => KeyCount::Beyond,
                keys => KeyCount::Exact(keys),
            });
            let bits = input.flags(MayHave::WILL_BIT | MayHave::SESSION_BIT)?;
            lease.may_have = MayHave {
                will: bits & MayHave::WILL_BIT != 0,
                session: bits & MayHave::SESSION_BIT != 0,
            };
        }
        input.end()?;
        Ok(lease)
    }

    /// Whether the count shows that no key is attached, so that no scan is needed.
    pub(crate) fn has_no_key(&self) -> bool {
        self.keys == Some(KeyCount::Exact(0))
    }

    /// Refuses to attach `more` keys if that exceeds the limit.
    fn check_room(&self, more: u64) -> Result<(), Refusal> {
        match self.keys {
            Some(KeyCount::Exact(keys)) => Limit::LeaseKeys.check(keys.saturating_add(more)),
            Some(KeyCount::Beyond) => Limit::LeaseKeys.check(u64::MAX),
            None => Ok(()),
        }
    }
}

/// Returns the lease `id`.
pub(crate) fn find(view: &dyn View, id: LeaseId) -> Result<Option<Lease>, Fault> {
    let row = view.get(Table::Leases, &keys::lease(id))?;
    row.map(|row| Lease::decode(id, &row)).transpose()
}

/// Refuses to attach `more` keys to the lease `id` if that exceeds the limit.
pub(crate) fn check_room(view: &dyn View, id: LeaseId, more: usize) -> Result<(), ReadError> {
    match find(view, id)? {
        Some(lease) => Ok(lease.check_room(more as u64)?),
        None => Ok(()),
    }
}

/// Updates the count of a lease before a key is attached, or after one was detached.
pub(crate) fn count_key(
    overlay: &mut Overlay,
    meta: &Meta,
    id: LeaseId,
    is_more: bool,
) -> Result<(), Fault> {
    if meta.level < FeatureLevel::PRICED {
        return Ok(());
    }
    let Some(mut lease) = find(overlay, id)? else {
        debug_assert!(!is_more, "a key is attached to a lease that exists");
        return Ok(());
    };
    let counted = match lease.keys {
        // Detaching needs no room, so the row is not written for it.
        None if !is_more => return Ok(()),
        None => count(overlay, id)?,
        Some(counted) => counted,
    };
    lease.keys = Some(counted.changed(is_more));
    overlay.put(Table::Leases, keys::lease(id), lease.encode());
    Ok(())
}

/// Counts the keys attached to the lease `id`, up to the limit.
pub(crate) fn count(view: &dyn View, id: LeaseId) -> Result<KeyCount, Fault> {
    let mut cursor = view.scan(Table::LeaseKeys, &keys::lease(id))?;
    for found in 0..=LEASE_KEYS_MAX {
        match cursor.next_key()? {
            Some(row) if keys::read_lease_key(&row, id).is_some() => {}
            _ => return Ok(KeyCount::Exact(found)),
        }
    }
    Ok(KeyCount::Beyond)
}

/// Returns the keys attached to the lease `id`, in order.
pub(crate) fn attached(view: &dyn View, id: LeaseId) -> Result<Vec<Bytes>, Fault> {
    attached_first(view, id, usize::MAX)
}

/// Returns the first `max` keys attached to the lease `id`, in order.
pub(crate) fn attached_first(
    view: &dyn View,
    id: LeaseId,
    max: usize,
) -> Result<Vec<Bytes>, Fault> {
    let mut found = Vec::new();
    let mut cursor = view.scan(Table::LeaseKeys, &keys::lease(id))?;
    while found.len() < max
        && let Some(row) = cursor.next_key()?
        && let Some(key) = keys::read_lease_key(&row, id)
    {
        found.push(key);
    }
    Ok(found)
}

/// Returns the first keys attached to the lease `id` whose rows are at least `from`: a slice that
/// is empty only if there are none.
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

/// Records that a lease has a will, if it is the first.
pub(crate) fn note_will(overlay: &mut Overlay, lease: &Lease) {
    if lease.may_have.will {
        return;
    }
    let mut noted = *lease;
    noted.may_have.will = true;
    overlay.put(Table::Leases, keys::lease(lease.id), noted.encode());
}

impl Transition<'_> {
    /// Grants a lease, with or without a session.
    pub(crate) fn grant_lease(
        &mut self,
        grant: LeaseGrant,
        session: bool,
    ) -> Result<(), ReadError> {
        // "No lease" cannot be created; the border refuses such a request.
        if !grant.id.is_some() || find(self.overlay, grant.id)?.is_some() {
            return Err(Refusal::LeaseExists.into());
        }
        let is_counted = self.meta.level >= FeatureLevel::PRICED;
        if is_counted {
            Limit::Leases.check(self.meta.leases.saturating_add(1))?;
        }
        let LeaseGrant { id, ttl } = grant;
        let lease = Lease {
            id,
            ttl,
            deadline: self.meta.now.after(ttl),
            generation: 1,
            keys: is_counted.then_some(KeyCount::Exact(0)),
            may_have: if is_counted {
                MayHave {
                    will: false,
                    session,
                }
            } else {
                MayHave::ALL
            },
        };
        self.overlay
            .put(Table::Leases, keys::lease(id), lease.encode());
        self.meta.leases = self.meta.leases.saturating_add(1);
        self.effects.facts.leases_granted.push(id);
        Ok(())
    }

    /// Removes the row of a lease whose keys are deleted.
    pub(crate) fn forget_lease(&mut self, lease: &Lease) {
        self.overlay.delete(Table::Leases, keys::lease(lease.id));
        debug_assert!(self.meta.leases > 0, "a lease that ends is counted");
        self.meta.leases = self.meta.leases.saturating_sub(1);
    }

    /// Renews leases: each gets its full time to live from now. Returns the time to live of each
    /// lease that exists.
    pub(crate) fn renew_leases(&mut self, ids: &[LeaseId]) -> Result<Vec<Option<Ttl>>, Fault> {
        let mut renewed = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(mut lease) = find(self.overlay, *id)? else {
                renewed.push(None);
                continue;
            };
            lease.deadline = self.meta.now.after(lease.ttl);
            lease.generation = lease.generation.saturating_add(1);
            self.overlay
                .put(Table::Leases, keys::lease(*id), lease.encode());
            renewed.push(Some(lease.ttl));
        }
        Ok(renewed)
    }
}

impl Reader<'_> {
    /// Returns the lease `id`.
    ///
    /// # Errors
    /// When the engine cannot read, or the row does not decode.
    pub fn lease(&self, id: LeaseId) -> Result<Option<Lease>, Fault> {
        find(self.view, id)
    }

    /// Returns every lease, by id.
    ///
    /// # Errors
    /// As [`Reader::lease`].
    pub fn leases(&self) -> Result<Vec<Lease>, Fault> {
        let mut found = Vec::new();
        let mut cursor = self.view.scan(Table::Leases, &[])?;
        while let Some((row, value)) = cursor.next()? {
            found.push(Lease::decode(keys::read_lease(&row)?, &value)?);
        }
        Ok(found)
    }

    /// Returns the keys attached to the lease `id`, in order.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn lease_keys(&self, id: LeaseId) -> Result<Vec<Bytes>, Fault> {
        attached(self.view, id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn leases_are_read_as_they_were_written(
            numbers in any::<(i64, [u64; 4])>(),
            (is_counted, will, session) in any::<(bool, bool, bool)>(),
        ) {
            let (id, [ttl, deadline, generation, keys]) = numbers;
            let keys = if keys == BEYOND { KeyCount::Beyond } else { KeyCount::Exact(keys) };
            let lease = Lease {
                id: LeaseId(id),
                ttl: Ttl(ttl),
                deadline: ClusterTime(deadline),
                generation,
                keys: is_counted.then_some(keys),
                may_have: if is_counted { MayHave { will, session } } else { MayHave::ALL },
            };
            let row = lease.encode();
            let read = |row: &Bytes| Lease::decode(lease.id, row);
            prop_assert_eq!(read(&row).expect("a lease"), lease);
            // Without the number of keys it is a lease from before keys were counted.
            let shorter = (0..row.len()).filter(|cut| *cut != 24);
            for cut in shorter {
                prop_assert!(read(&row.slice(..cut)).is_err());
            }
            let longer: Bytes = row.iter().copied().chain([0xff]).collect();
            prop_assert!(read(&longer).is_err());
        }
    }
}

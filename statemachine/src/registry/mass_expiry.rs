//! The mass-expiry guard: when most instances of a service would expire within moments, a network
//! fault is more likely than a failure of all of them. Their leases are held for a while, and the
//! instances marked as suspect.
//!
//! It holds whole leases, and only those that keep nothing but instances: claims are never held,
//! because locks and elections must become free; nor are leases of more instances than a renewal
//! can look through. No lease is held twice: one with a suspect instance has had its extension and
//! ends. So a service whose instances are really gone is clean [`HOLD_MAX`] after the hold began.
//!
//! The state of a service is in `mass_expiry_row.rs`: at most two rows, each with a timer that
//! removes it, so no rows are left for a service that has been healthy for a while.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    fields::{self, Flags},
    instance::latest,
    mass_expiry_row::{HELD, Held, WINDOW, Window, is_any_held, row_of, timer},
};
use crate::{
    command::Put,
    engine::{Table, View},
    error::{Fault, damaged},
    feature::FeatureLevel,
    keyspace::{SERVICES_PREFIX, service_range, split},
    lease::Lease,
    meta::Meta,
    rows::{Record, Row, keys},
    transition::Transition,
    value::{ClusterTime, KeyRange, LeaseId, Ttl},
};

/// Expiries within this time are counted as one event. As long as the longest grace after a gap, so
/// that clients disconnected together are counted together.
pub(crate) const EXPIRY_WINDOW: Ttl = Ttl::from_secs(10);
/// How long a service is held. Long enough for a switch or a quorum to restart, short enough for
/// registry-based routing to tolerate dead instances that are marked as suspect.
pub(crate) const HOLD_MAX: Ttl = Ttl::from_secs(60);
/// Fewest expired instances for a hold: most instances of a small service expiring is not unusual.
pub(super) const EXPIRED_MIN: u64 = 3;
/// Most instances of a lease that is held, from [`FeatureLevel::PRICED`] on: as many as run on one
/// host, with a margin. Each is rewritten when it becomes a suspect, and when it is renewed.
const LEASE_INSTANCES_MAX: usize = 128;
/// Most keys that one renewal of a lease reads to find its suspects, from [`FeatureLevel::PRICED`]
/// on: the held ones, and as many added since.
const RENEWED_KEYS_MAX: usize = 256;

/// An instance that a lease keeps.
struct Kept {
    key: Bytes,
    value: Bytes,
    flags: Flags,
}

impl Transition<'_> {
    /// Holds a due lease for now if too many instances of a service would expire at once: extends
    /// its deadline and marks its instances as suspect. Returns whether it did.
    ///
    /// # Errors
    /// When the engine cannot read, or a row does not decode.
    pub(crate) fn hold_for_its_service(&mut self, lease: &Lease) -> Result<bool, Fault> {
        let now = self.meta.now;
        let instances_max = at_level(self.meta, LEASE_INSTANCES_MAX);
        let instances = kept_by(self.overlay, lease.id, instances_max)?;
        if instances.is_empty() || instances.iter().any(|kept| kept.flags.suspect) {
            return Ok(false);
        }
        let mut until = None;
        for (service, count) in services(&instances) {
            until = until.max(self.hold_service(service, count)?);
        }
        let Some(deadline) = until else {
            return Ok(false);
        };
        debug_assert!(deadline > now, "a hold ends later");
        // The other services of the lease have suspects too, because leases are held as a whole.
        for (service, _) in services(&instances) {
            if Held::find(self.overlay, Table::Cluster, &row_of(HELD, service))?.is_none() {
                let (until, look) = (now, deadline);
                self.put_held(service, Held { until, look });
            }
        }
        self.mark_instances(instances, true)?;
        let lease = Lease { deadline, ..*lease };
        self.overlay
            .put(Table::Leases, keys::lease(lease.id), lease.encode());
        Ok(true)
    }

    /// Clears the suspect mark of the instances of these leases, which were renewed.
    ///
    /// # Errors
    /// When the engine cannot read, or a row does not decode.
    pub(crate) fn clear_suspects(&mut self, leases: &[LeaseId]) -> Result<(), Fault> {
        // With an active `Corrupt` alarm keys are not written; the next renewal clears the mark.
        if self.meta.corrupt || !is_any_held(self.overlay)? {
            return Ok(());
        }
        let keys_max = at_level(self.meta, RENEWED_KEYS_MAX);
        let mut cleared = Vec::new();
        // A lease may be named many times.
        let leases: BTreeSet<LeaseId> = leases.iter().copied().collect();
        for id in leases {
            for key in instance_keys(self.overlay, id, keys_max)? {
                cleared.extend(kept(self.overlay, key)?.filter(|kept| kept.flags.suspect));
            }
        }
        cleared.sort_by(|a, b| a.key.cmp(&b.key));
        self.mark_instances(cleared, false)
    }

    /// Removes the due rows of a service, except a hold that still has suspects.
    ///
    /// # Errors
    /// When the engine cannot read, or a row does not decode.
    pub(crate) fn look_at_held(&mut self, service: &Bytes) -> Result<(), Fault> {
        let now = self.meta.now;
        let service =
            std::str::from_utf8(service).map_err(|_| damaged("mass-expiry timer is no name"))?;
        let row = row_of(WINDOW, service);
        let window = Window::find(self.overlay, Table::Cluster, &row)?;
        if window.is_some_and(|window| window.end() <= now) {
            self.overlay.delete(Table::Cluster, row);
        }
        let row = row_of(HELD, service);
        let held = Held::find(self.overlay, Table::Cluster, &row)?;
        if let Some(held) = held.filter(|held| held.look <= now) {
            // Renewals must clear suspects until all of them have been renewed or ended.
            if has_suspects(self.overlay, service)? {
                let look = now.after(EXPIRY_WINDOW);
                self.put_held(service, Held { look, ..held });
            } else {
                self.overlay.delete(Table::Cluster, row);
            }
        }
        Ok(())
    }

    /// Counts instances that are due. If they must not expire, returns the time until which the
    /// service is held.
    fn hold_service(&mut self, service: &str, expired: u64) -> Result<Option<ClusterTime>, Fault> {
        let now = self.meta.now;
        let held = Held::find(self.overlay, Table::Cluster, &row_of(HELD, service))?;
        if let Some(held) = held.filter(|held| now < held.until) {
            return Ok(Some(held.until));
        }
        let row = row_of(WINDOW, service);
        let window = Window::find(self.overlay, Table::Cluster, &row)?;
        let mut window = match window.filter(|window| now < window.end()) {
            Some(window) => window,
            None => {
                let window = Window {
                    from: now,
                    present: count(self.overlay, &service_range(service))?,
                    expired: 0,
                };
                self.set_timer(window.end(), &timer(service));
                window
            }
        };
        let gone = window.expired;
        window.expired = gone.saturating_add(expired);
        if window.is_mass() {
            // Instances may have been added since the counting began.
            let known = count(self.overlay, &service_range(service))?.saturating_add(gone);
            window.present = window.present.max(known);
        }
        if !window.is_mass() {
            self.overlay.put(Table::Cluster, row, window.encode());
            return Ok(None);
        }
        debug_assert!(window.expired >= EXPIRED_MIN, "few expiries are no mass");
        self.overlay.delete(Table::Cluster, row);
        let until = now.after(HOLD_MAX);
        self.put_held(service, Held { until, look: until });
        Ok(Some(until))
    }

    /// Sets or clears the suspect mark of these instances, in one revision.
    fn mark_instances(&mut self, instances: Vec<Kept>, suspect: bool) -> Result<(), Fault> {
        let mut change = self.change();
        for kept in instances {
            let flags = Flags {
                suspect,
                ..kept.flags
            };
            let value = fields::write(&kept.value, flags)
                .ok_or_else(|| damaged("an instance that could be read cannot be written"))?;
            change.put(&Put {
                key: kept.key,
                value,
                ignore_lease: true,
                ..Put::default()
            })?;
        }
        change.finish();
        Ok(())
    }
}

/// Returns a bound that applies from [`FeatureLevel::PRICED`] on.
fn at_level(meta: &Meta, max: usize) -> usize {
    if meta.level >= FeatureLevel::PRICED {
        max
    } else {
        usize::MAX
    }
}

/// Returns the instances that a lease keeps; none if it keeps anything else, or more than `max`.
fn kept_by(view: &dyn View, id: LeaseId, max: usize) -> Result<Vec<Kept>, Fault> {
    let mut keys = Vec::new();
    let mut cursor = view.scan(Table::LeaseKeys, &keys::lease(id))?;
    while let Some((row, _)) = cursor.next()? {
        let Some(key) = keys::read_lease_key(&row, id) else {
            break;
        };
        if split(&key).is_none() || keys.len() >= max {
            return Ok(Vec::new());
        }
        keys.push(key);
    }
    let mut instances = Vec::with_capacity(keys.len());
    for key in keys {
        match kept(view, key)? {
            Some(kept) => instances.push(kept),
            None => return Ok(Vec::new()),
        }
    }
    Ok(instances)
}

/// Returns the first `max` keys of instances among those of a lease.
fn instance_keys(view: &dyn View, id: LeaseId, max: usize) -> Result<Vec<Bytes>, Fault> {
    let mut found = Vec::new();
    let from = keys::lease_key(id, SERVICES_PREFIX.as_bytes());
    let mut cursor = view.scan(Table::LeaseKeys, &from)?;
    while found.len() < max
        && let Some((row, _)) = cursor.next()?
    {
        match keys::read_lease_key(&row, id) {
            Some(key) if key.starts_with(SERVICES_PREFIX.as_bytes()) => found.push(key),
            Some(_) | None => break,
        }
    }
    Ok(found)
}

/// Returns the instance of a key, if key and value are an instance's.
fn kept(view: &dyn View, key: Bytes) -> Result<Option<Kept>, Fault> {
    let record = latest(view, &key)?.filter(|_| split(&key).is_some());
    Ok(record.and_then(|record| {
        let flags = fields::read(&record.value)?;
        let value = record.value;
        Some(Kept { key, value, flags })
    }))
}

/// Returns the services of these instances, each with its number of instances; keys of one service
/// are adjacent.
fn services(instances: &[Kept]) -> impl Iterator<Item = (&str, u64)> {
    fn service_of(kept: &Kept) -> &str {
        split(&kept.key).map_or("", |(service, _)| service)
    }
    let groups = instances.chunk_by(|a, b| service_of(a) == service_of(b));
    groups.filter_map(|group| Some((service_of(group.first()?), group.len() as u64)))
}

fn count(view: &dyn View, range: &KeyRange) -> Result<u64, Fault> {
    let mut cursor = view.scan(Table::Current, &range.start)?;
    let mut count = 0_u64;
    while let Some(key) = cursor.next_key()? {
        if !range.contains(&key) {
            break;
        }
        count = count.saturating_add(1);
    }
    Ok(count)
}

fn has_suspects(view: &dyn View, service: &str) -> Result<bool, Fault> {
    let range = service_range(service);
    let mut cursor = view.scan(Table::Current, &range.start)?;
    while let Some((key, row)) = cursor.next()? {
        if !range.contains(&key) {
            break;
        }
        let record = Record::decode(&row)?;
        let is_suspect = fields::read(&record.value).is_some_and(|flags| flags.suspect);
        // An instance without a lease was put by another API, and nothing will ever end it.
        if is_suspect && record.lease.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

//! The rows of the mass-expiry guard: `B`, the kind of row, and the service.
//!
//! Invariant: a row is written together with the timer that checks whether it is still needed.

use bytes::{BufMut, Bytes};

use super::mass_expiry::{EXPIRED_MIN, EXPIRY_WINDOW};
use crate::{
    engine::{Table, View},
    error::Fault,
    rows::{self, Family, Row},
    timers::Timer,
    transition::Transition,
    value::ClusterTime,
};

/// Second byte of the row of a held service; sorts before the other kind, to be found at once.
pub(super) const HELD: u8 = 0;
/// Second byte of the row that counts the expiries of a service.
pub(super) const WINDOW: u8 = 1;

/// The state of a held service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The time from which its leases may end.
    pub(super) until: ClusterTime,
    /// When to check whether the row is still needed.
    pub(super) look: ClusterTime,
}

/// The counted expiries of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: ClusterTime,
    /// Instances when the counting began, or more if more were seen since.
    pub(super) present: u64,
    /// Instances that became due since.
    pub(super) expired: u64,
}

rows::row! { Held { until, look }, "mass-expiry row is not of its length" }

rows::row! { Window { from, present, expired }, "expiry window row is not of its length" }

impl Window {
    pub(super) const fn end(self) -> ClusterTime {
        self.from.after(EXPIRY_WINDOW)
    }

    /// Whether most instances of the service would expire.
    pub(super) const fn is_mass(self) -> bool {
        self.expired >= EXPIRED_MIN && self.expired.saturating_mul(2) > self.present
    }
}

impl Transition<'_> {
    pub(super) fn put_held(&mut self, service: &str, held: Held) {
        self.set_timer(held.look, &timer(service));
        self.overlay
            .put(Table::Cluster, row_of(HELD, service), held.encode());
    }
}

pub(super) fn timer(service: &str) -> Timer {
    Timer::MassExpiryLook(Bytes::copy_from_slice(service.as_bytes()))
}

/// Whether any service has, or may have, suspects.
pub(crate) fn is_any_held(view: &dyn View) -> Result<bool, Fault> {
    let prefix = row_of(HELD, "");
    let first = view.scan(Table::Cluster, &prefix)?.next_key()?;
    Ok(first.is_some_and(|row| row.starts_with(&prefix)))
}

pub(super) fn row_of(kind: u8, service: &str) -> Bytes {
    let mut row = Family::MassExpiry.row(service.len().saturating_add(1));
    row.put_u8(kind);
    row.put_slice(service.as_bytes());
    row.freeze()
}

/// Returns whether a row is of a hold (otherwise of a window), and its service; `None` for other
/// rows.
pub(super) fn parse_row(row: &Bytes) -> Option<(bool, &str)> {
    let (kind, service) = Family::MassExpiry.rest(row)?.split_first()?;
    let service = std::str::from_utf8(service).ok()?;
    matches!(*kind, HELD | WINDOW).then_some((*kind == HELD, service))
}

//! Lock delays: once its holder is lost, a name is not granted for a while.
//!
//! `D`, name: BE64 cluster time. Invariant: each row has one timer, for the time in the row.

use bytes::{BufMut, Bytes};

use crate::{
    engine::{Table, View},
    error::Fault,
    rows::{self, Family, Overlay, Row},
    timers::{self, Timer},
    transition::Transition,
    value::ClusterTime,
};

fn row(name: &[u8]) -> Bytes {
    let mut row = Family::LockDelay.row(name.len());
    row.put_slice(name);
    row.freeze()
}

/// The end of a lock delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delay {
    pub(crate) until: ClusterTime,
}

rows::row! { Delay { until }, "lock delay is not a time" }

/// Returns the time until which `name` is not granted. It may have passed.
pub(crate) fn until(view: &dyn View, name: &[u8]) -> Result<Option<ClusterTime>, Fault> {
    let delay = Delay::find(view, Table::Cluster, &row(name))?;
    Ok(delay.map(|delay| delay.until))
}

/// Whether `name` must not be granted at `now`.
pub(crate) fn is_on(view: &dyn View, name: &[u8], now: ClusterTime) -> Result<bool, Fault> {
    Ok(until(view, name)?.is_some_and(|until| until > now))
}

impl Transition<'_> {
    /// Delays grants of `name` until `end` at least.
    pub(super) fn start_delay(&mut self, name: &Bytes, end: ClusterTime) -> Result<(), Fault> {
        let timer = Timer::DelayOver(name.clone());
        if let Some(before) = until(self.overlay, name)? {
            if before >= end {
                return Ok(());
            }
            timers::clear(self.overlay, before, &timer);
        }
        let delay = Delay { until: end };
        self.overlay.put(Table::Cluster, row(name), delay.encode());
        self.set_timer(end, &timer);
        Ok(())
    }
}

/// Ends the delay if its time has passed. Returns whether it did.
pub(crate) fn end(overlay: &mut Overlay, name: &Bytes, now: ClusterTime) -> Result<bool, Fault> {
    let is_over = until(overlay, name)?.is_some_and(|until| until <= now);
    if is_over {
        overlay.delete(Table::Cluster, row(name));
    }
    Ok(is_over)
}

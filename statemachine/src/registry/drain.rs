//! Drains: instances to be removed once their grace has passed.
//!
//! One row per draining instance, `G` and its key, holds the end of the drain and the incarnation;
//! a timer is set for that time. If the instance ends otherwise, the row remains until its timer
//! runs. Invariant: every row has its timer, so every row is removed.

use bytes::{BufMut, Bytes};

use super::{
    fields,
    instance::{is_draining, latest},
};
use crate::{
    engine::Table,
    error::Fault,
    rows::{self, Family, Overlay, Row},
    timers::{self, Timer},
    transition::Transition,
    value::{ClusterTime, Revision},
};

/// A drain in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drain {
    pub(super) until: ClusterTime,
    pub(super) incarnation: Revision,
}

rows::row! { Drain { until, incarnation }, "drain row is not of its length" }

impl Drain {
    pub(super) fn timer(self, key: &Bytes) -> Timer {
        Timer::DrainOver(self.incarnation, key.clone())
    }
}

fn row_of(key: &[u8]) -> Bytes {
    let mut row = Family::Drain.row(key.len());
    row.put_slice(key);
    row.freeze()
}

/// Cancels the drain of an instance that stays, or that is gone already.
pub(super) fn cancel(overlay: &mut Overlay, key: &Bytes) -> Result<(), Fault> {
    let row = row_of(key);
    if let Some(drain) = Drain::find(overlay, Table::Cluster, &row)? {
        timers::clear(overlay, drain.until, &drain.timer(key));
        overlay.delete(Table::Cluster, row);
    }
    Ok(())
}

impl Transition<'_> {
    /// Starts a drain, or changes the end of one in progress.
    pub(super) fn begin_drain(
        &mut self,
        key: &Bytes,
        incarnation: Revision,
        until: ClusterTime,
    ) -> Result<(), Fault> {
        cancel(self.overlay, key)?;
        let drain = Drain { until, incarnation };
        self.set_timer(until, &drain.timer(key));
        self.overlay
            .put(Table::Cluster, row_of(key), drain.encode());
        Ok(())
    }

    /// Ends the grace of the instance of `key`, created in revision `incarnation`: removes it, if
    /// it is still draining.
    ///
    /// # Errors
    /// When the engine cannot read, or a row does not decode.
    pub(crate) fn drain_over(&mut self, incarnation: Revision, key: &Bytes) -> Result<(), Fault> {
        let (row, now) = (row_of(key), self.meta.now);
        let is_over = |drain: &Drain| drain.incarnation == incarnation && drain.until <= now;
        if !Drain::find(self.overlay, Table::Cluster, &row)?
            .as_ref()
            .is_some_and(is_over)
        {
            return Ok(());
        }
        self.overlay.delete(Table::Cluster, row);
        // A new incarnation, or another write, may have taken it back into rotation.
        let drains = latest(self.overlay, key)?.is_some_and(|record| {
            record.create == incarnation && fields::read(&record.value).is_some_and(is_draining)
        });
        if drains {
            self.remove_instance(key)?;
        }
        Ok(())
    }
}

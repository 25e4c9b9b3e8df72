//! How many bytes the rows of some kinds take together, so that they can be bounded.
//!
//! Counted from [`FeatureLevel::PRICED`] on. What was stored before is not in the totals, so they
//! may say less than there is, but what was added since is never more than they say.
//! Invariant: a total is at most what there is.

use bytes::Bytes;

use crate::{
    engine::{Table, View},
    error::Fault,
    feature::FeatureLevel,
    meta::Meta,
    rows::{self, Family, Overlay, Row},
};

/// The totals, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Of wills: their rows, keys included.
    pub(crate) wills: u64,
    /// Of the outcomes that sessions remember.
    pub(crate) sessions: u64,
}

rows::row! { Totals { wills, sessions }, "row of totals is not of its length" }

impl Totals {
    pub(crate) fn load(view: &dyn View) -> Result<Self, Fault> {
        let totals = Self::find(view, Table::Cluster, Family::Totals.prefix())?;
        Ok(totals.unwrap_or_default())
    }

    fn save(self, overlay: &mut Overlay) {
        let key = Bytes::from_static(Family::Totals.prefix());
        overlay.put(Table::Cluster, key, self.encode());
    }

    /// Takes note that rows which took `before` bytes take `after`. What shrinks was counted where
    /// anything was.
    fn change(
        overlay: &mut Overlay,
        meta: &Meta,
        of: impl Fn(&mut Self) -> &mut u64,
        before: u64,
        after: u64,
    ) -> Result<(), Fault> {
        if meta.level < FeatureLevel::PRICED {
            return Ok(());
        }
        let totals = Self::load(overlay)?;
        let mut changed = totals;
        let total = of(&mut changed);
        *total = total.saturating_add(after).saturating_sub(before);
        if changed != totals {
            changed.save(overlay);
        }
        Ok(())
    }

    /// The rows of wills that took `before` bytes take `after`.
    pub(crate) fn change_wills(
        overlay: &mut Overlay,
        meta: &Meta,
        before: u64,
        after: u64,
    ) -> Result<(), Fault> {
        Self::change(overlay, meta, |totals| &mut totals.wills, before, after)
    }

    /// What a session remembers took `before` bytes and takes `after`.
    pub(crate) fn change_sessions(
        overlay: &mut Overlay,
        meta: &Meta,
        before: u64,
        after: u64,
    ) -> Result<(), Fault> {
        Self::change(overlay, meta, |totals| &mut totals.sessions, before, after)
    }
}

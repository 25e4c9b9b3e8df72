//! The total size of some kinds of rows, so that they can be bounded.
//!
//! Counted from [`FeatureLevel::PRICED`] on. Rows stored before are not counted, but their removal
//! is subtracted, so a total may be less than the size of its rows. Invariant: it is never more.

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
    /// Size of wills: their rows, keys included.
    pub(crate) wills: u64,
    /// Size of the outcomes that sessions remember.
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

    /// Changes a total from `before` to `after` for some rows. Saturates at zero, because rows of
    /// older levels were not counted.
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

    /// Records that rows of wills changed from `before` to `after` bytes.
    pub(crate) fn change_wills(
        overlay: &mut Overlay,
        meta: &Meta,
        before: u64,
        after: u64,
    ) -> Result<(), Fault> {
        Self::change(overlay, meta, |totals| &mut totals.wills, before, after)
    }

    /// Records that the outcomes of a session changed from `before` to `after` bytes.
    pub(crate) fn change_sessions(
        overlay: &mut Overlay,
        meta: &Meta,
        before: u64,
        after: u64,
    ) -> Result<(), Fault> {
        Self::change(overlay, meta, |totals| &mut totals.sessions, before, after)
    }
}

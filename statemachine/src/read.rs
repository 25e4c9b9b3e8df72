//! Reads of one consistent state.
//!
//! Single records and changes are here. Other queries are methods in the module of their subject:
//! ranges and transactions in `kv/`, the past in `history/`; leases, claims, registrations,
//! sessions, policies and members each in their own. Invariant: a reader never changes anything,
//! and all its results are of one state.

use bytes::Bytes;

use crate::{
    engine::{Table, View},
    error::{Fault, damaged},
    meta::Meta,
    rows::{
        Record, Row,
        keys::{self, ChangeKind, MetaRow, Stamp, VersionRow},
    },
    value::{KeyValue, Revision},
};

/// Reads one state.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    pub(crate) view: &'a dyn View,
    meta: Meta,
}

impl<'a> Reader<'a> {
    /// Creates a reader of `view`.
    ///
    /// # Errors
    /// When the engine cannot read, or the counters do not decode.
    pub fn new(view: &'a dyn View) -> Result<Self, Fault> {
        Ok(Self {
            view,
            meta: Meta::load(view)?,
        })
    }

    /// Creates a reader of `view` with counters that are not in it yet.
    pub(crate) const fn over(view: &'a dyn View, meta: Meta) -> Self {
        Self { view, meta }
    }

    /// Returns the counters of the state.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Returns the record that the log's adapter last stored beside the data.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn adapter_record(&self) -> Result<Option<Bytes>, Fault> {
        Ok(self.view.get(Table::Meta, MetaRow::Adapter.key())?)
    }

    /// Returns the latest record of `key`.
    pub(crate) fn latest(&self, key: &[u8]) -> Result<Option<Record>, Fault> {
        Record::find(self.view, Table::Current, key)
    }

    /// Returns the newest change of `key` that is not after `stamp`, with one seek.
    pub(crate) fn change_at(
        &self,
        key: &[u8],
        stamp: Stamp,
    ) -> Result<Option<(Stamp, ChangeKind)>, Fault> {
        let mut cursor = self
            .view
            .scan(Table::Versions, &keys::version(key, stamp))?;
        let Some((row, kind)) = cursor.next()? else {
            return Ok(None);
        };
        let found = VersionRow::parse(&row)?;
        if !found.is_of(&keys::versions_from(key)) {
            return Ok(None);
        }
        Ok(Some((found.stamp, ChangeKind::from_row_value(&kind)?)))
    }

    /// Returns the newest change of `key` before `stamp`.
    pub(crate) fn change_before(
        &self,
        key: &[u8],
        stamp: Stamp,
    ) -> Result<Option<(Stamp, ChangeKind)>, Fault> {
        let before = if stamp.sub > 0 {
            Stamp {
                main: stamp.main,
                sub: stamp.sub.saturating_sub(1),
            }
        } else {
            Stamp::last_of(Revision(stamp.main.0.saturating_sub(1)))
        };
        self.change_at(key, before)
    }

    /// Returns the record that the put at `stamp` made.
    pub(crate) fn put_at(&self, stamp: Stamp) -> Result<KeyValue, Fault> {
        let row = keys::history(stamp, ChangeKind::Put);
        let record = KeyValue::find(self.view, Table::History, &row)?;
        record.ok_or_else(|| damaged("a version has no history record"))
    }
}

//! Selection of a range read: visit, filter, sort, truncate.
//!
//! Invariant: the order of these steps, and what each of them counts, is etcd's.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::{
    command::{DeleteRange, RangeQuery, SortOrder, SortTarget},
    engine::Table,
    error::{ReadError, Refusal},
    outcome::RangeReply,
    price::Budget,
    read::Reader,
    rows::{
        Record, Row,
        keys::{self, ChangeKind, Stamp, VersionRow},
    },
    value::{KeyRange, KeyValue, RangeEnd, Revision},
};

/// Receives a key and its `Current` row. Returns whether to continue.
type Visit<'v> = dyn FnMut(Bytes, Bytes) -> Result<bool, ReadError> + 'v;

/// The records found, up to the number wanted, and the count of all keys.
#[derive(Debug, Default)]
struct Selection {
    kvs: Vec<KeyValue>,
    count: usize,
}

impl Selection {
    /// Adds the next record in key order, if it passes the query's filters.
    ///
    /// A sorted query with a limit keeps little more than the limit: a truncated record is beyond
    /// the limit regardless of later ones. So memory depends on the size of the result, not of the
    /// range.
    fn take(&mut self, query: &RangeQuery, kv: KeyValue) {
        if has_filters(query) && !passes(query, &kv) {
            return;
        }
        self.kvs.push(kv);
        let limit = usize::try_from(query.limit).unwrap_or(0);
        if limit > 0 && self.kvs.len() >= limit.saturating_mul(2).max(CUT_LEN_MIN) {
            sort(query, &mut self.kvs);
            self.kvs.truncate(limit.saturating_add(1));
        }
    }
}

/// Records to gather at least before those beyond the limit are truncated: a sort is paid for by as
/// many records as it drops.
const CUT_LEN_MIN: usize = 1024;

impl Reader<'_> {
    /// Reads the keys of a range.
    ///
    /// # Errors
    /// Refused when the revision is compacted or in the future. A fault when the engine cannot read
    /// or a row does not decode.
    pub fn range(&self, query: &RangeQuery) -> Result<RangeReply, ReadError> {
        self.range_within(query, &mut Budget::unlimited())
    }

    /// As [`Reader::range`], within `budget`. Records that a sort or a filter drops are paid for,
    /// too, because they were in memory.
    pub(crate) fn range_within(
        &self,
        query: &RangeQuery,
        budget: &mut Budget,
    ) -> Result<RangeReply, ReadError> {
        let revision = self.resolve(query.revision)?;
        let limit = usize::try_from(query.limit).unwrap_or(0);
        let fetch_max = fetch_max(query, limit);
        let Selection { mut kvs, count } = self.select(query, revision, fetch_max, budget)?;
        debug_assert!(kvs.len() <= count, "what is selected is counted");
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if query.count_only {
            return Ok(RangeReply {
                kvs: Vec::new(),
                more: false,
                count,
            });
        }
        sort(query, &mut kvs);
        let more = limit > 0 && kvs.len() > limit;
        if more {
            kvs.truncate(limit);
        }
        if kvs.len() < kvs.capacity() / 2 {
            // A result may wait for its client for a long time.
            kvs.shrink_to_fit();
        }
        if query.keys_only {
            // `clear` would keep the memory.
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeReply { kvs, more, count })
    }

    /// Visits the records of a query's range one by one, in key order and without collecting them;
    /// `visit` returns whether to continue. Only the range, the revision and `keys_only` of the
    /// query are used.
    ///
    /// # Errors
    /// As [`Reader::range`].
    pub fn visit(
        &self,
        query: &RangeQuery,
        visit: &mut dyn FnMut(KeyValue) -> bool,
    ) -> Result<(), ReadError> {
        let revision = self.resolve(query.revision)?;
        let mut hand_on = |mut kv: KeyValue| {
            if query.keys_only {
                kv.value = Bytes::new();
            }
            visit(kv)
        };
        if revision == self.meta().revision {
            self.visit_latest(&query.range, &mut |key, row| {
                Ok(hand_on(Record::decode(&row)?.into_key_value(key)))
            })?;
        } else if let RangeEnd::Single = query.range.end {
            let change = self.change_at(&query.range.start, Stamp::last_of(revision))?;
            if let Some((stamp, ChangeKind::Put)) = change {
                hand_on(self.put_at(stamp)?);
            }
        } else {
            let unlimited = &mut Budget::unlimited();
            self.hop_past(&query.range, revision, unlimited, &mut |stamp, _| {
                Ok(hand_on(self.put_at(stamp)?))
            })?;
        }
        Ok(())
    }

    /// Returns the revision that a query reads. The floor itself can be read.
    fn resolve(&self, asked: Revision) -> Result<Revision, Refusal> {
        let (latest, floor) = (self.meta().revision, self.meta().floor);
        if asked > latest {
            return Err(Refusal::FutureRevision { latest });
        }
        let revision = if asked.0 <= 0 { latest } else { asked };
        if revision < floor {
            Err(Refusal::Compacted { floor })
        } else {
            Ok(revision)
        }
    }

    fn select(
        &self,
        query: &RangeQuery,
        revision: Revision,
        fetch_max: usize,
        budget: &mut Budget,
    ) -> Result<Selection, ReadError> {
        if revision != self.meta().revision {
            return match &query.range.end {
                RangeEnd::Single => self.select_past_key(query, revision, budget),
                RangeEnd::Before(_) | RangeEnd::Unbounded => {
                    self.select_past(query, revision, fetch_max, budget)
                }
            };
        }
        self.select_latest(query, fetch_max, budget)
    }

    /// Selects the latest records up to the number wanted, and counts the keys after them.
    fn select_latest(
        &self,
        query: &RangeQuery,
        fetch_max: usize,
        budget: &mut Budget,
    ) -> Result<Selection, ReadError> {
        let drop_values = query.keys_only && query.sort_target != SortTarget::Value;
        let mut selection = Selection::default();
        let mut last = None;
        if fetch_max > 0 {
            self.visit_latest(&query.range, &mut |key, row| {
                let mut record = Record::decode(&row)?;
                if drop_values {
                    record.value = Bytes::new();
                }
                let kv = record.into_key_value(key.clone());
                budget.row()?;
                budget.record(&kv)?;
                selection.take(query, kv);
                selection.count = selection.count.saturating_add(1);
                last = Some(key);
                Ok(selection.count < fetch_max)
            })?;
        }
        if selection.count == fetch_max {
            let rest = self.count_latest(&query.range, last.as_deref(), budget)?;
            selection.count = selection.count.saturating_add(rest);
        }
        Ok(selection)
    }

    /// Counts the keys of a range, or only those after `after`.
    fn count_latest(
        &self,
        range: &KeyRange,
        after: Option<&[u8]>,
        budget: &mut Budget,
    ) -> Result<usize, ReadError> {
        if let RangeEnd::Single = range.end {
            budget.row()?;
            let first = after.is_none() && self.view.get(Table::Current, &range.start)?.is_some();
            return Ok(usize::from(first));
        }
        if range.is_empty() {
            return Ok(0);
        }
        let from = after.unwrap_or(&range.start);
        let mut cursor = self.view.scan(Table::Current, from)?;
        let mut count = 0_usize;
        while let Some(key) = cursor.next_key()? {
            if !range.contains(&key) {
                break;
            }
            if after != Some(key.as_ref()) {
                budget.row()?;
                count = count.saturating_add(1);
            }
        }
        Ok(count)
    }

    /// Visits the latest rows of a range, in key order.
    pub(crate) fn visit_latest(
        &self,
        range: &KeyRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        if let RangeEnd::Single = range.end {
            if let Some(row) = self.view.get(Table::Current, &range.start)? {
                visit(range.start.clone(), row)?;
            }
            return Ok(());
        }
        if range.is_empty() {
            return Ok(());
        }
        let mut cursor = self.view.scan(Table::Current, &range.start)?;
        while let Some((key, row)) = cursor.next()? {
            if !range.contains(&key) || !visit(key, row)? {
                break;
            }
        }
        Ok(())
    }

    /// Pays for deleting a range, before any of it is deleted.
    pub(crate) fn price_delete(
        &self,
        delete: &DeleteRange,
        budget: &mut Budget,
    ) -> Result<(), ReadError> {
        if !delete.want_previous {
            return self.count_latest(&delete.range, None, budget).map(drop);
        }
        self.visit_latest(&delete.range, &mut |key, row| {
            budget.row()?;
            budget.record(&Record::decode(&row)?.into_key_value(key))?;
            Ok(true)
        })
    }

    fn select_past_key(
        &self,
        query: &RangeQuery,
        revision: Revision,
        budget: &mut Budget,
    ) -> Result<Selection, ReadError> {
        budget.row()?;
        match self.change_at(&query.range.start, Stamp::last_of(revision))? {
            Some((stamp, ChangeKind::Put)) => {
                let kv = self.put_at(stamp)?;
                budget.record(&kv)?;
                let mut selection = Selection {
                    kvs: Vec::new(),
                    count: 1,
                };
                selection.take(query, kv);
                Ok(selection)
            }
            Some((_, ChangeKind::Tombstone)) | None => Ok(Selection::default()),
        }
    }

    fn select_past(
        &self,
        query: &RangeQuery,
        revision: Revision,
        fetch_max: usize,
        budget: &mut Budget,
    ) -> Result<Selection, ReadError> {
        let mut selection = Selection::default();
        self.hop_past(&query.range, revision, budget, &mut |stamp, budget| {
            if selection.count < fetch_max {
                let kv = self.put_at(stamp)?;
                budget.record(&kv)?;
                selection.take(query, kv);
            }
            selection.count = selection.count.saturating_add(1);
            Ok(true)
        })?;
        Ok(selection)
    }

    /// Visits, key by key, the newest change that is not after `revision`, if it is a put.
    ///
    /// Pays for every key that had a record then or has changed after the floor. Other keys may
    /// have a tombstone that is collected already, which differs between replicas.
    fn hop_past(
        &self,
        range: &KeyRange,
        revision: Revision,
        budget: &mut Budget,
        visit: &mut dyn FnMut(Stamp, &mut Budget) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        if range.is_empty() {
            return Ok(());
        }
        let floor = self.meta().floor;
        let end = match &range.end {
            RangeEnd::Before(end) => Some(keys::versions_from(end)),
            RangeEnd::Single | RangeEnd::Unbounded => None,
        };
        let mut cursor = self
            .view
            .scan(Table::Versions, &keys::versions_from(&range.start))?;
        let mut settled: Option<VersionRow> = None;
        while let Some((row, kind)) = cursor.next()? {
            if end.as_ref().is_some_and(|end| row >= end) {
                break;
            }
            let found = VersionRow::parse(&row)?;
            if settled
                .as_ref()
                .is_some_and(|settled| settled.same_key(&found))
            {
                cursor.skip_to(&found.after())?;
                continue;
            }
            if found.stamp.main > revision {
                budget.row()?;
                cursor.skip_to(&found.at(Stamp::last_of(revision)))?;
                continue;
            }
            let is_put = ChangeKind::from_row_value(&kind)? == ChangeKind::Put;
            if is_put || found.stamp.main > floor {
                budget.row()?;
            }
            if is_put && !visit(found.stamp, budget)? {
                break;
            }
            debug_assert!(found.stamp.main <= revision, "nothing later is visited");
            settled = Some(found);
        }
        Ok(())
    }
}

/// Returns how many records to fetch: one beyond the limit, to know whether there are more. A sort
/// or a filter needs all of them first.
///
/// As in etcd, a query without sort order counts as unsorted whatever its target: the limit is
/// applied in key order, and the rest is sorted.
fn fetch_max(query: &RangeQuery, limit: usize) -> usize {
    let by_key = query.sort_order == SortOrder::None
        || (query.sort_target == SortTarget::Key && query.sort_order == SortOrder::Ascend);
    if query.count_only {
        0
    } else if limit > 0 && by_key && !has_filters(query) {
        limit.saturating_add(1)
    } else {
        usize::MAX
    }
}

fn has_filters(query: &RangeQuery) -> bool {
    let unset = Revision(0);
    query.min_mod_revision != unset
        || query.max_mod_revision != unset
        || query.min_create_revision != unset
        || query.max_create_revision != unset
}

fn passes(query: &RangeQuery, kv: &KeyValue) -> bool {
    let above = |min: Revision, revision: Revision| min.0 == 0 || revision >= min;
    let below = |max: Revision, revision: Revision| max.0 == 0 || revision <= max;
    below(query.max_mod_revision, kv.mod_revision)
        && above(query.min_mod_revision, kv.mod_revision)
        && below(query.max_create_revision, kv.create_revision)
        && above(query.min_create_revision, kv.create_revision)
}

/// Sorts stably, so that ties are in key order; etcd leaves their order open.
fn sort(query: &RangeQuery, kvs: &mut [KeyValue]) {
    let compare: fn(&KeyValue, &KeyValue) -> Ordering = match query.sort_target {
        SortTarget::Key => |a, b| a.key.cmp(&b.key),
        SortTarget::Version => |a, b| a.version.cmp(&b.version),
        SortTarget::Create => |a, b| a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => |a, b| a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => |a, b| a.value.cmp(&b.value),
    };
    match query.sort_order {
        SortOrder::None | SortOrder::Ascend if query.sort_target == SortTarget::Key => {}
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(compare),
        SortOrder::Descend => kvs.sort_by(|a, b| compare(b, a)),
    }
}

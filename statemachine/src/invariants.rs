//! Every invariant of the stored state, checked over a view.
//!
//! For tests, simulations and operators; it reads everything. Not part of apply.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    auth, claims,
    engine::{Table, View},
    history::is_reachable,
    kv::live_bytes,
    lease::KeyCount,
    once, origin,
    read::Reader,
    registry,
    rows::{
        Record, Row, family,
        keys::{self, ChangeKind, Stamp, VersionRow},
    },
    value::{AlarmKind, KeyValue, Revision},
    will,
};

/// Checks every invariant.
///
/// # Errors
/// The first violation, or the read error, as text.
pub fn check(view: &dyn View) -> Result<(), String> {
    let reader = Reader::new(view).map_err(|fault| fault.to_string())?;
    let meta = reader.meta();
    ensure(meta.revision >= Revision::EMPTY, || {
        "the revision is below that of nothing".into()
    })?;
    ensure(meta.floor <= meta.revision, || {
        "the floor lies above the revision".into()
    })?;
    let newest = check_history(&reader)?;
    check_current(&reader, &newest)?;
    check_leases(&reader)?;
    check_alarms(&reader)?;
    family::check(view)?;
    claims::check(view)?;
    registry::check(view)?;
    once::check(view)?;
    auth::check_rows(view)?;
    will::check(view)?;
    origin::check(view, meta.applied_index)
}

/// The newest stored change of every key.
type Newest = BTreeMap<Bytes, (Stamp, ChangeKind)>;

/// Checks that history and versions name the same changes, in a dense order, and that every
/// reachable change exists.
fn check_history(reader: &Reader<'_>) -> Result<Newest, String> {
    let mut newest = Newest::new();
    let mut versions = 0_u64;
    for (row, value) in rows(reader.view, Table::Versions)? {
        let found = VersionRow::parse(&row).map_err(|fault| fault.to_string())?;
        let kind = ChangeKind::from_row_value(&value).map_err(|fault| fault.to_string())?;
        let key = found.key();
        ensure(keys::version(&key, found.stamp) == row, || {
            format!("odd version of {key:?}")
        })?;
        newest.entry(key).or_insert((found.stamp, kind));
        versions = versions.saturating_add(1);
    }
    let mut changes = 0_u64;
    let mut last = Stamp::last_of(Revision(0));
    for (row, value) in rows(reader.view, Table::History)? {
        let (stamp, kind) = keys::read_history(&row).map_err(|fault| fault.to_string())?;
        let kv = KeyValue::decode(&value).map_err(|fault| fault.to_string())?;
        let found = reader
            .change_at(&kv.key, stamp)
            .map_err(|fault| fault.to_string())?;
        ensure(found == Some((stamp, kind)), || {
            format!("{stamp:?} has no version")
        })?;
        ensure(stamp.main <= reader.meta().revision, || {
            format!("{stamp:?} is in the future")
        })?;
        let floor = reader.meta().floor;
        let dense = stamp.main == last.main && last.sub.checked_add(1) == Some(stamp.sub)
            || stamp.main > last.main && stamp.sub == 0;
        ensure(dense || stamp.main < floor, || {
            format!("{stamp:?} does not follow {last:?}")
        })?;
        let gap = last.main.0.max(floor.0).max(1) < stamp.main.0.saturating_sub(1);
        ensure(!gap, || {
            format!("a revision before {stamp:?} has no change")
        })?;
        last = stamp;
        changes = changes.saturating_add(1);
    }
    ensure(changes == versions, || {
        format!("{versions} versions of {changes} changes")
    })?;
    Ok(newest)
}

/// Checks that a key's latest record is its newest change, in both tables, and the counters.
fn check_current(reader: &Reader<'_>, newest: &Newest) -> Result<(), String> {
    let (mut count, mut bytes) = (0_u64, 0_u64);
    for (key, row) in rows(reader.view, Table::Current)? {
        let record = Record::decode(&row).map_err(|fault| fault.to_string())?;
        let is_newest = newest.get(&key) == Some(&(record.stamp, ChangeKind::Put));
        ensure(is_newest, || format!("{key:?} is not at its newest change"))?;
        count = count.saturating_add(1);
        bytes = bytes.saturating_add(live_bytes(&key, &record));
        let attached = record
            .lease
            .is_some()
            .then(|| keys::lease_key(record.lease, &key));
        if let Some(row) = attached {
            let found = reader
                .view
                .get(Table::LeaseKeys, &row)
                .map_err(|e| e.to_string())?;
            ensure(found.is_some(), || {
                format!("{key:?} is not attached to its lease")
            })?;
        }
        let stored = reader
            .put_at(record.stamp)
            .map_err(|fault| fault.to_string())?;
        let shown: KeyValue = record.into_key_value(key);
        ensure(stored == shown, || {
            format!("{shown:?} is {stored:?} in history")
        })?;
    }
    let living = newest
        .values()
        .filter(|(_, kind)| *kind == ChangeKind::Put)
        .count() as u64;
    ensure(living == count, || {
        format!("{living} keys live in history, {count} are current")
    })?;
    let meta = reader.meta();
    ensure(meta.keys == count, || {
        format!("{count} keys are counted as {}", meta.keys)
    })?;
    ensure(meta.live_bytes == bytes, || {
        format!("{bytes} bytes counted as {}", meta.live_bytes)
    })
}

/// Checks that attached keys exist and name their lease, and that leases are counted.
fn check_leases(reader: &Reader<'_>) -> Result<(), String> {
    let leases = reader.leases().map_err(|fault| fault.to_string())?;
    let mut attached = 0_usize;
    for lease in &leases {
        let mut of_lease = 0_u64;
        for key in reader
            .lease_keys(lease.id)
            .map_err(|fault| fault.to_string())?
        {
            let record = reader.latest(&key).map_err(|fault| fault.to_string())?;
            let names = record.is_some_and(|record| record.lease == lease.id);
            ensure(names, || {
                format!("lease {} has {key:?}, which has not it", lease.id)
            })?;
            attached = attached.saturating_add(1);
            of_lease = of_lease.saturating_add(1);
        }
        if let Some(KeyCount::Exact(counted)) = lease.keys {
            ensure(counted == of_lease, || {
                format!(
                    "{of_lease} keys of lease {} are counted as {counted}",
                    lease.id
                )
            })?;
        }
    }
    let rows = rows(reader.view, Table::LeaseKeys)?.len();
    ensure(rows == attached, || {
        format!("{rows} attachments, {attached} of known leases")
    })?;
    let count = leases.len() as u64;
    let counted = reader.meta().leases;
    ensure(counted == count, || {
        format!("{count} leases are counted as {counted}")
    })
}

fn check_alarms(reader: &Reader<'_>) -> Result<(), String> {
    let alarms = reader.alarms().map_err(|fault| fault.to_string())?;
    let has = |wanted| alarms.iter().any(|(_, kind)| *kind == wanted);
    let meta = reader.meta();
    ensure(meta.no_space == has(AlarmKind::NoSpace), || {
        "the no-space flag is wrong".into()
    })?;
    ensure(meta.corrupt == has(AlarmKind::Corrupt), || {
        "the corrupt flag is wrong".into()
    })
}

/// Checks that collection left no row that it should have deleted. Holds once a collector has
/// finished with the present floor.
///
/// # Errors
/// The first row left over, or the read error, as text.
pub fn check_collected(view: &dyn View) -> Result<(), String> {
    let reader = Reader::new(view).map_err(|fault| fault.to_string())?;
    for (row, value) in rows(view, Table::History)? {
        let (stamp, kind) = keys::read_history(&row).map_err(|fault| fault.to_string())?;
        let key = KeyValue::decode(&value)
            .map_err(|fault| fault.to_string())?
            .key;
        let reachable =
            is_reachable(&reader, stamp, kind, &key).map_err(|fault| fault.to_string())?;
        ensure(reachable, || format!("{stamp:?} of {key:?} is left over"))?;
    }
    Ok(())
}

fn rows(view: &dyn View, table: Table) -> Result<Vec<(Bytes, Bytes)>, String> {
    let mut rows = Vec::new();
    let mut cursor = view.scan(table, &[]).map_err(|error| error.to_string())?;
    while let Some(pair) = cursor.next().map_err(|error| error.to_string())? {
        rows.push(pair);
    }
    Ok(rows)
}

fn ensure(holds: bool, violation: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(violation()) }
}

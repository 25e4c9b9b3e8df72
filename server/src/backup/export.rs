//! The state as the rows of a snapshot, in the order of the file.

use bytes::BytesMut;
use tenure_backup::{
    bbolt::RowSink,
    schema::{Alarm, AlarmKind as StoredKind, BucketName, EncodedRow, Lease, Record, RowError},
};
use tenure_statemachine::{
    AlarmKind, Fault, Lease as StateLease, Meta, Reader, Revision, Table, View, restore::Restore,
};
use thiserror::Error;

use super::{
    rows::{self, ClusterFacts},
    users,
};

/// Milliseconds of a second, etcd's unit of a time to live.
const SECOND_MS: u64 = 1000;

/// Why a state was not written.
#[derive(Debug, Error)]
pub(super) enum FeedError<E> {
    /// The state could not be read.
    #[error(transparent)]
    State(#[from] Fault),
    /// A row could not be encoded.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The sink took a row not.
    #[error(transparent)]
    Sink(E),
}

impl<E> From<tenure_statemachine::EngineError> for FeedError<E> {
    fn from(error: tenure_statemachine::EngineError) -> Self {
        Self::State(error.into())
    }
}

/// Tells `sink` every row of the state, in the order of a file. Twice the same for one view.
pub(super) fn feed<S: RowSink>(
    view: &dyn View,
    facts: &ClusterFacts,
    sink: &mut S,
) -> Result<(), FeedError<S::Error>> {
    let reader = Reader::new(view)?;
    let meta = *reader.meta();
    for bucket in BucketName::ALL {
        sink.bucket(bucket.as_bytes()).map_err(FeedError::Sink)?;
        match bucket {
            BucketName::Key => history(view, sink)?,
            BucketName::Tenure => kept(view, sink)?,
            BucketName::Alarm => records(sink, alarms(&reader)?)?,
            BucketName::Auth => records(sink, auth(&reader)?)?,
            BucketName::AuthRoles => records(sink, users::roles(&reader)?)?,
            BucketName::AuthUsers => records(sink, users::users(&reader)?)?,
            BucketName::Lease => records(sink, leases(&reader, &meta)?)?,
            BucketName::Meta => records(sink, progress(&meta))?,
            BucketName::Members => {
                let members = facts.members.iter().cloned();
                records(sink, members.map(Record::Member).collect())?;
            }
            BucketName::MembersRemoved => {
                let removed = facts.removed.iter().copied();
                records(sink, removed.map(Record::RemovedMember).collect())?;
            }
            // etcd refuses versions above its own, so none is written.
            BucketName::Cluster => {}
        }
    }
    Ok(())
}

/// Changes are stored in the bytes of etcd's rows.
fn history<S: RowSink>(view: &dyn View, sink: &mut S) -> Result<(), FeedError<S::Error>> {
    let mut cursor = view.scan(Table::History, &[])?;
    while let Some((key, value)) = cursor.next()? {
        sink.row(&key, &value).map_err(FeedError::Sink)?;
    }
    Ok(())
}

/// The rows that cannot be derived from history.
fn kept<S: RowSink>(view: &dyn View, sink: &mut S) -> Result<(), FeedError<S::Error>> {
    let mut number = 0;
    let mut row = BytesMut::new();
    for table in Restore::KEPT {
        let mut cursor = view.scan(table, &[])?;
        while let Some((key, value)) = cursor.next()? {
            if !Restore::is_kept(table, &key) {
                continue;
            }
            rows::encode(&mut row, table, &key, &value);
            let numbered = rows::numbered(number);
            sink.row(&numbered, &row).map_err(FeedError::Sink)?;
            number += 1;
        }
    }
    Ok(())
}

/// Tells the rows of one bucket, in the order of their keys.
fn records<S: RowSink>(sink: &mut S, records: Vec<Record>) -> Result<(), FeedError<S::Error>> {
    let rows = records.iter().map(Record::encode);
    let mut rows: Vec<EncodedRow> = rows.collect::<Result<_, _>>()?;
    rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    for EncodedRow { key, value, .. } in rows {
        sink.row(&key, &value).map_err(FeedError::Sink)?;
    }
    Ok(())
}

fn alarms(reader: &Reader<'_>) -> Result<Vec<Record>, Fault> {
    let alarm = |(member, kind): (tenure_statemachine::MemberId, AlarmKind)| {
        let kind = match kind {
            AlarmKind::NoSpace => StoredKind::NoSpace,
            AlarmKind::Corrupt => StoredKind::Corrupt,
        };
        Record::Alarm(Alarm {
            member_id: member.0,
            kind: kind.into(),
        })
    };
    Ok(reader.alarms()?.into_iter().map(alarm).collect())
}

fn auth(reader: &Reader<'_>) -> Result<Vec<Record>, Fault> {
    let state = reader.auth()?;
    Ok(vec![
        Record::AuthEnabled(state.enabled),
        Record::AuthRevision(state.revision.0),
    ])
}

fn leases(reader: &Reader<'_>, meta: &Meta) -> Result<Vec<Record>, Fault> {
    let lease = |lease: StateLease| {
        let left = lease.deadline.0.saturating_sub(meta.now.0);
        Record::Lease(Lease {
            id: lease.id.0,
            ttl: seconds(lease.ttl.0),
            remaining_ttl: seconds(left),
        })
    };
    Ok(reader.leases()?.into_iter().map(lease).collect())
}

/// Whole seconds, at least one: zero would mean that nothing is known.
fn seconds(ms: u64) -> i64 {
    i64::try_from(ms.div_ceil(SECOND_MS))
        .unwrap_or(i64::MAX)
        .max(1)
}

/// The place in the log, and the compaction. It counts as requested and not as done: etcd then
/// completes it, whatever has been collected here.
fn progress(meta: &Meta) -> Vec<Record> {
    let mut records = vec![
        Record::ConsistentIndex(meta.applied_index),
        Record::Term(meta.applied_term),
    ];
    if meta.floor > Revision(0) {
        records.push(Record::ScheduledCompaction(meta.floor));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_whole_seconds_and_never_none() {
        let cases = [(0, 1), (1, 1), (1000, 1), (1001, 2), (10_000, 10)];
        for (ms, expected) in cases {
            assert_eq!(seconds(ms), expected, "{ms} ms");
        }
    }
}

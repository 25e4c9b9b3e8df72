//! A history of keys, as snapshots and segments hold it.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use tenure_backup::{
    Chunk, Revision,
    archive::{ArchivedChange, ArchivedRevision, Segment, SegmentHeader, encode, point_in_time},
    bbolt::{Database, RowFault},
    schema::{BucketName, KeyValue, Lease, Record, RevisionKey},
};

use crate::written::{Buckets, write};

/// The first revision that a change can have.
const FIRST: i64 = 2;

/// Changes by revision, from [`FIRST`] on.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) revisions: Vec<ArchivedRevision>,
    live: BTreeMap<&'static str, KeyValue>,
}

/// A change of a key: a value and a lease, or a deletion.
pub(crate) type Change = (&'static str, Option<(&'static str, i64)>);

impl History {
    pub(crate) fn last(&self) -> i64 {
        FIRST + i64::try_from(self.revisions.len()).unwrap() - 1
    }

    /// Adds one revision.
    pub(crate) fn commit(&mut self, changes: &[Change]) {
        let revision = self.last() + 1;
        let changes = changes.iter().map(|&(key, written)| {
            let Some((value, lease)) = written else {
                self.live.remove(key);
                let kv = KeyValue {
                    key: key.into(),
                    mod_revision: revision,
                    ..KeyValue::default()
                };
                return ArchivedChange { deleted: true, kv };
            };
            let before = self.live.get(key);
            let kv = KeyValue {
                key: key.into(),
                create_revision: before.map_or(revision, |kv| kv.create_revision),
                mod_revision: revision,
                version: before.map_or(1, |kv| kv.version + 1),
                value: value.into(),
                lease,
            };
            self.live.insert(key, kv.clone());
            ArchivedChange { deleted: false, kv }
        });
        let changes = changes.collect();
        self.revisions.push(ArchivedRevision {
            revision,
            time_ms: 1_000 * u64::try_from(revision).unwrap(),
            changes,
            leases: Vec::new(),
        });
    }

    /// A history with every kind of change.
    pub(crate) fn sample() -> Self {
        let mut all = Self::default();
        all.commit(&[("a", Some(("1", 0)))]);
        all.commit(&[("b", Some(("1", 7))), ("c", Some(("1", 7)))]);
        all.commit(&[("a", None)]);
        all.commit(&[("a", Some(("2", 9))), ("b", Some(("2", 0)))]);
        all.commit(&[("c", None), ("d", Some(("x", 8)))]);
        all.commit(&[("d", None)]);
        all.commit(&[("b", Some(("3", 7)))]);
        all
    }

    /// The rows of the bucket `key` up to a revision.
    fn rows(&self, to: i64) -> Vec<(RevisionKey, KeyValue)> {
        let all = self.revisions.iter().filter(|one| one.revision <= to);
        all.flat_map(|one| one.rows().collect::<Vec<_>>()).collect()
    }

    /// The database of a snapshot at a revision, with these leases.
    pub(crate) fn snapshot(&self, to: i64, leases: &[(i64, i64)]) -> Bytes {
        let mut buckets: Buckets = BucketName::ALL
            .into_iter()
            .map(|name| (Bytes::from_static(name.as_bytes()), BTreeMap::new()))
            .collect();
        let leases = leases.iter().map(|&(id, ttl)| {
            Record::Lease(Lease {
                id,
                ttl,
                remaining_ttl: 0,
            })
        });
        let changes = self.rows(to).into_iter();
        let changes = changes.map(|(at, kv)| Record::Change(at, kv));
        for record in changes.chain(leases) {
            let row = record.encode().unwrap();
            let bucket = buckets.get_mut(row.bucket.as_bytes()).unwrap();
            bucket.insert(row.key, row.value);
        }
        write(&buckets)
    }

    /// The bytes of a segment with the revisions after `after`, up to `to`.
    pub(crate) fn segment(&self, after: i64, to: i64) -> Bytes {
        let header = SegmentHeader {
            cluster_id: 5,
            after: Revision(after),
            time_ms: 1_000 * u64::try_from(after).unwrap(),
        };
        let mut bytes = BytesMut::from(&header.encode()[..]);
        for one in &self.revisions {
            if one.revision > after && one.revision <= to {
                bytes.extend_from_slice(&encode(one).unwrap());
            }
        }
        bytes.freeze()
    }
}

/// The snapshot of a revision, made from a snapshot and segments.
pub(crate) fn point(
    snapshot: &Bytes,
    segments: &[Bytes],
    to: i64,
) -> Result<Bytes, tenure_backup::archive::PointError<RowFault>> {
    let database = Database::open(snapshot.clone()).unwrap();
    let segments = segments.iter().cloned();
    let segments: Vec<_> = segments
        .map(|bytes| Segment::open(bytes, "segment").unwrap())
        .collect();
    let mut file = BytesMut::new();
    point_in_time(&database, &segments, Revision(to), |chunk: Chunk| {
        file.extend_from_slice(&chunk);
        Ok(())
    })?;
    Ok(file.freeze())
}

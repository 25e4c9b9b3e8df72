//! Snapshots of any revision, made from a snapshot and the segments after it.

use bytes::Bytes;
use tenure_backup::{
    Revision,
    archive::{DifferenceKind, PointError, Segment, differences, span},
    bbolt::Database,
    contents, hash_kv, rows_of,
    schema::{BucketName, EncodedRow, Lease, Record},
};

use crate::history::{History, point};

fn rows(database: &Bytes, bucket: BucketName) -> Vec<EncodedRow> {
    let database = Database::open(database.clone()).unwrap();
    database.check().unwrap();
    let rows = rows_of(&database, bucket).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn leases(database: &Bytes) -> Vec<(i64, i64)> {
    let all = rows(database, BucketName::Lease).into_iter();
    let all = all.map(|row| match Record::decode(row).unwrap() {
        Record::Lease(Lease { id, ttl, .. }) => (id, ttl),
        other => panic!("{other:?}"),
    });
    all.collect()
}

#[test]
fn every_revision_is_reached_from_every_snapshot_and_has_the_same_rows_and_hash() {
    let history = History::sample();
    let last = history.last();
    for base in 2..=last {
        let snapshot = history.snapshot(base, &[]);
        // The second segment begins within what the snapshot holds.
        let segments = [history.segment(1, base), history.segment(base, last)];
        for to in 2..=last {
            let made = point(&snapshot, &segments, to).unwrap();
            let direct = history.snapshot(to, &[]);
            let key = BucketName::Key;
            assert_eq!(rows(&made, key), rows(&direct, key), "{base} to {to}");
            let hash = |bytes: &Bytes| {
                let database = Database::open(bytes.clone()).unwrap();
                hash_kv(&database, Revision(0)).unwrap()
            };
            assert_eq!(hash(&made), hash(&direct));
            let made = Database::open(made).unwrap();
            assert_eq!(contents(&made).unwrap().revision, Revision(to));
            assert_eq!(span(&made).unwrap().last, Revision(to));
        }
    }
}

#[test]
fn a_revision_beyond_the_segments_and_one_between_them_are_missing() {
    let history = History::sample();
    let snapshot = history.snapshot(3, &[]);
    let missing = |segments: &[Bytes], to| match point(&snapshot, segments, to) {
        Err(PointError::Missing { missing }) => missing.0,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&[history.segment(3, 5)], 6), 6);
    let apart = [history.segment(3, 4), history.segment(5, 8)];
    assert_eq!(missing(&apart, 8), 5);
    assert_eq!(missing(&[], 4), 4);
}

#[test]
fn leases_are_those_that_keys_name_then_with_the_ttl_that_is_known() {
    let mut history = History::sample();
    let learned = Lease {
        id: 9,
        ttl: 90,
        remaining_ttl: 0,
    };
    // Revision 5 names lease 9 for the first time.
    history.revisions[3].leases.push(learned);
    let snapshot = history.snapshot(4, &[(7, 70), (11, 110)]);
    let segments = [history.segment(4, history.last())];
    let at = |to| leases(&point(&snapshot, &segments, to).unwrap());
    assert_eq!(at(5), [(7, 70), (9, 90), (11, 110)]);
    // Nobody asked for lease 8 in time.
    assert_eq!(at(6), [(7, 70), (8, 300), (9, 90), (11, 110)]);
    // Its key is gone.
    assert_eq!(at(7), [(7, 70), (9, 90), (11, 110)]);
}

#[test]
fn differences_are_told_with_what_was_before_and_after() {
    let history = History::sample();
    let snapshot = Database::open(history.snapshot(4, &[])).unwrap();
    let segments = [Segment::open(history.segment(4, history.last()), "s").unwrap()];
    let told = |from, to, prefix: &[u8]| {
        let pair = (Revision(from), Revision(to));
        let found = differences(&snapshot, &segments, pair, prefix).unwrap();
        let one = |difference: tenure_backup::archive::Difference| {
            let key = String::from_utf8(difference.key.to_vec()).unwrap();
            (key, difference.kind().unwrap())
        };
        found.into_iter().map(one).collect::<Vec<_>>()
    };
    let named = |key: &str, kind| (key.to_owned(), kind);
    assert_eq!(
        told(3, 8, b""),
        [
            named("a", DifferenceKind::Changed),
            named("b", DifferenceKind::Changed),
            named("c", DifferenceKind::Deleted),
        ]
    );
    assert_eq!(told(4, 5, b"a"), [named("a", DifferenceKind::Added)]);
    // Written and deleted in between.
    assert_eq!(told(5, 7, b"d"), []);
    assert_eq!(told(6, 6, b""), []);
}

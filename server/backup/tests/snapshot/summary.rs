//! Status and contents of files that are written here.

use std::collections::BTreeMap;

use bytes::Bytes;
use tenure_backup::{
    Contents, Status,
    bbolt::Database,
    contents,
    schema::{BucketName, EncodedRow, KeyValue, Member, Record, RevisionKey},
    status,
};
use tenure_statemachine::Revision;

use crate::written::{Buckets, write};

pub(crate) fn file_of(records: &[Record]) -> Bytes {
    let mut buckets: Buckets = BucketName::ALL
        .map(|name| (Bytes::from_static(name.as_bytes()), BTreeMap::new()))
        .into();
    for record in records {
        let EncodedRow { bucket, key, value } = record.encode().unwrap();
        buckets
            .get_mut(bucket.as_bytes())
            .unwrap()
            .insert(key, value);
    }
    write(&buckets)
}

fn summary(records: &[Record]) -> (Status, Contents) {
    let file = file_of(records);
    let database = Database::open(&file).unwrap();
    (status(&database).unwrap(), contents(&database).unwrap())
}

fn change(main: i64, key: &'static str, is_tombstone: bool) -> Record {
    let kv = KeyValue {
        key: key.into(),
        ..KeyValue::default()
    };
    let main = Revision(main);
    let at = RevisionKey {
        main,
        sub: 0,
        is_tombstone,
    };
    Record::Change(at, kv)
}

#[test]
fn nothing_is_summarised() {
    let (status, contents) = summary(&[]);
    let names = BucketName::ALL.map(BucketName::as_str).concat();
    assert_eq!(status.hash, crc32c::crc32c(names.as_bytes()));
    assert_eq!(
        (status.revision, status.keys, status.rows),
        (Revision(0), 0, 0)
    );
    assert_eq!(contents.revision, Revision(1));
    assert_eq!(contents.compacted, None);
}

#[test]
fn keys_that_exist_are_counted() {
    let history = [
        change(2, "a", false),
        change(3, "b", false),
        change(4, "a", true),
        change(5, "a", false),
        change(6, "b", true),
        change(7, "c", true),
    ];
    let (status, contents) = summary(&history);
    assert_eq!(
        (status.revision, status.keys, status.rows),
        (Revision(7), 1, 6)
    );
    assert_eq!((contents.keys, contents.changes, contents.rows), (1, 6, 6));
    assert_eq!(contents.revision, Revision(7));
}

#[test]
fn a_compaction_can_be_beyond_the_last_change() {
    let floor = |scheduled: i64, finished: i64| {
        summary(&[
            change(2, "a", false),
            Record::ScheduledCompaction(Revision(scheduled)),
            Record::FinishedCompaction(Revision(finished)),
        ])
    };
    let (status, contents) = floor(9, 9);
    assert_eq!(status.revision, Revision(2));
    assert_eq!(contents.revision, Revision(9));
    assert_eq!(
        (contents.compacted, contents.is_collected),
        (Some(Revision(9)), true)
    );
    let (_, contents) = floor(9, 4);
    assert_eq!(
        (contents.compacted, contents.is_collected),
        (Some(Revision(9)), false)
    );
    // etcd before 3.4 could lose the record of the schedule.
    let (_, contents) = floor(0, 9);
    assert_eq!(
        (contents.compacted, contents.is_collected),
        (Some(Revision(9)), true)
    );
}

#[test]
fn the_empty_key_of_a_bump_is_no_key() {
    let bumped = [
        change(2, "a", false),
        change(1000, "", false),
        Record::ScheduledCompaction(Revision(1000)),
    ];
    let (status, contents) = summary(&bumped);
    assert_eq!((status.keys, contents.keys), (2, 1));
    assert_eq!(contents.revision, Revision(1000));
}

#[test]
fn more_members_than_any_cluster_has_are_refused() {
    let member = |id| {
        Record::Member(Member {
            id,
            ..Member::default()
        })
    };
    let members: Vec<Record> = (1..=10_001).map(member).collect();
    let file = file_of(&members[..10_000]);
    assert_eq!(
        contents(&Database::open(&file).unwrap())
            .unwrap()
            .members
            .len(),
        10_000
    );
    let file = file_of(&members);
    let error = contents(&Database::open(&file).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "bucket members has more than 10000 rows");
}

#[test]
fn unknown_buckets_are_hashed_and_counted() {
    let buckets = Buckets::from([("zoo".into(), [("k".into(), "v".into())].into())]);
    let file = write(&buckets);
    let database = Database::open(&file).unwrap();
    let found = status(&database).unwrap();
    assert_eq!((found.hash, found.rows), (crc32c::crc32c(b"zookv"), 1));
    assert_eq!(contents(&database).unwrap().rows, 1);
}

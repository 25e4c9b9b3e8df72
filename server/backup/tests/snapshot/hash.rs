//! `HashKV` of a file is that of the state it was written from, whatever is collected.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use tenure_backup::{
    HashError,
    bbolt::Database,
    hash_kv,
    schema::{BucketName, EncodedRow, Record},
};
use tenure_statemachine::{
    Collector, Command, Context, DeleteRange, KeyRange, MemEngine, Put, Reader, Revision,
    StateMachine, Table, View,
};

use crate::{
    summary::file_of,
    written::{Buckets, write},
};

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8),
    DeleteAll,
    /// Compacts at this share of the history, of 100.
    Compact(i64),
    Collect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..5_u8).prop_map(Step::Put),
        4 => (0..5_u8).prop_map(Step::Delete),
        1 => Just(Step::DeleteAll),
        2 => (0..=100_i64).prop_map(Step::Compact),
        2 => Just(Step::Collect),
    ]
}

fn key(number: u8) -> Bytes {
    vec![b'k', number].into()
}

/// Runs the steps on a state machine.
fn run(steps: &[Step]) -> Arc<MemEngine> {
    let engine = Arc::new(MemEngine::new());
    let mut machine = StateMachine::open(engine.clone()).unwrap();
    for step in steps {
        let meta = machine.meta();
        let command = match step {
            Step::Put(number) => Command::Put(Put {
                key: key(*number),
                value: "value".into(),
                ..Put::default()
            }),
            Step::Delete(number) => delete(KeyRange::single(key(*number))),
            Step::DeleteAll => delete(KeyRange::from_wire("k".into(), "l".into())),
            Step::Compact(share) => {
                let (floor, latest) = (meta.floor.0.max(0), meta.revision.0);
                Command::Compact(Revision(floor + (latest - floor) * share / 100))
            }
            Step::Collect => {
                let mut collector = Collector::new();
                while !collector.step(&*engine, 1000).unwrap().done {}
                continue;
            }
        };
        let context = Context {
            index: meta.applied_index + 1,
            ..Context::default()
        };
        let mut batch = machine.begin();
        // A refusal, such as of a compaction at the floor, changes nothing.
        _ = batch.apply(&context, &command).unwrap().reply;
        batch.commit().unwrap();
    }
    engine
}

fn delete(range: KeyRange) -> Command {
    Command::DeleteRange(DeleteRange {
        range,
        want_previous: false,
    })
}

/// Writes the history of a state, row by row, and its floor.
fn saved(engine: &MemEngine, floor: Revision) -> Bytes {
    let mut cursor = engine.scan(Table::History, &[]).unwrap();
    let mut rows = BTreeMap::new();
    while let Some((key, value)) = cursor.next().unwrap() {
        let row = EncodedRow {
            bucket: BucketName::Key,
            key: key.clone(),
            value: value.clone(),
        };
        let record = Record::decode(row.clone()).unwrap();
        assert_eq!(record.encode().unwrap(), row, "the row of a node is etcd's");
        rows.insert(key, value);
    }
    let mut meta = BTreeMap::new();
    if floor.0 >= 0 {
        let row = Record::ScheduledCompaction(floor).encode().unwrap();
        meta.insert(row.key, row.value);
    }
    write(&Buckets::from([
        ("key".into(), rows),
        ("meta".into(), meta),
    ]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_file_has_the_hash_of_the_state(steps in vec(step(), 1..60)) {
        let engine = run(&steps);
        let reader = Reader::new(&*engine).unwrap();
        let (latest, floor) = (reader.meta().revision, reader.meta().floor);
        let file = saved(&engine, floor);
        let database = Database::open(&file).unwrap();
        // At the floor itself a node remembers the hash from before the compaction.
        let revisions = (floor.0.max(0) + 1..=latest.0).chain([0]);
        for revision in revisions.map(Revision) {
            let expected = reader.hash_kv(revision).unwrap();
            let found = hash_kv(&database, revision).unwrap();
            prop_assert_eq!(found, expected);
        }
        let future = hash_kv(&database, latest.next());
        let is_refused = matches!(future, Err(HashError::Future { latest: at }) if at == latest);
        prop_assert!(is_refused);
        if floor.0 > 1 {
            let compacted = hash_kv(&database, Revision(floor.0 - 1));
            let is_refused =
                matches!(compacted, Err(HashError::Compacted { floor: at }) if at == floor);
            prop_assert!(is_refused);
        }
    }
}

#[test]
fn a_file_without_history_has_a_hash() {
    let file = file_of(&[]);
    let found = hash_kv(&Database::open(&file).unwrap(), Revision(0)).unwrap();
    assert_eq!(found.hash, crc32c::crc32c(b"key"));
    assert_eq!((found.compact_revision.0, found.hash_revision.0), (-1, 1));
}

//! The engine in memory keeps the engines' contract, and loses from the end when it crashes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use bytes::Bytes;
use tenure_statemachine::{
    Command, Context, Engine, MemEngine, Put, Revision, StateMachine, Table, View, WriteBatch,
    WriteOp, engine::conformance,
};

fn write(engine: &MemEngine, key: &'static str) {
    let op = WriteOp::Put(Table::Current, Bytes::from(key), Bytes::new());
    engine.write(WriteBatch { ops: vec![op] }).unwrap();
}

fn has(engine: &MemEngine, key: &str) -> bool {
    engine
        .get(Table::Current, key.as_bytes())
        .unwrap()
        .is_some()
}

#[test]
fn the_engine_in_memory_conforms() {
    conformance::run(&|| Arc::new(MemEngine::new()));
}

#[test]
fn a_crash_loses_what_was_not_flushed() {
    let engine = MemEngine::new();
    write(&engine, "kept");
    engine.flush();
    write(&engine, "lost");
    assert_eq!(engine.unflushed(), 1);
    engine.crash();
    assert!(has(&engine, "kept"));
    assert!(!has(&engine, "lost"));
    assert_eq!(engine.unflushed(), 0);
}

#[test]
fn a_crash_keeps_a_prefix_of_what_was_not_flushed() {
    let engine = MemEngine::new();
    for key in ["a", "b", "c"] {
        write(&engine, key);
    }
    engine.crash_keeping(2);
    assert_eq!(
        [has(&engine, "a"), has(&engine, "b"), has(&engine, "c")],
        [true, true, false]
    );
    engine.crash();
    assert!(
        has(&engine, "b"),
        "what survived one crash survives the next"
    );
}

#[test]
fn a_batch_dropped_without_commit_has_no_effect() {
    let engine = Arc::new(MemEngine::new());
    let mut machine = StateMachine::open(engine.clone()).unwrap();
    let put = Command::Put(Put {
        key: "k".into(),
        value: "v".into(),
        ..Put::default()
    });
    let mut batch = machine.begin();
    batch
        .apply(
            &Context {
                index: 7,
                ..Context::default()
            },
            &put,
        )
        .unwrap();
    assert_eq!(batch.meta().revision, Revision(2));
    drop(batch);
    assert_eq!(machine.meta().revision, Revision(1));
    assert_eq!(machine.meta().applied_index, 0);
    assert_eq!(engine.unflushed(), 0);
}

#[test]
fn an_entry_before_one_already_applied_is_a_fault() {
    let mut machine = StateMachine::open(Arc::new(MemEngine::new())).unwrap();
    let put = Command::Put(Put {
        key: "k".into(),
        value: "v".into(),
        ..Put::default()
    });
    let mut batch = machine.begin();
    batch
        .apply(
            &Context {
                index: 7,
                ..Context::default()
            },
            &put,
        )
        .unwrap();
    batch
        .apply(
            &Context {
                index: 7,
                ..Context::default()
            },
            &put,
        )
        .unwrap();
    assert!(
        batch
            .apply(
                &Context {
                    index: 6,
                    ..Context::default()
                },
                &put
            )
            .is_err()
    );
}

#[test]
fn the_adapters_record_is_written_with_the_data_and_read_back() {
    let engine = Arc::new(MemEngine::new());
    let mut machine = StateMachine::open(engine.clone()).unwrap();
    let mut batch = machine.begin();
    batch.advance(&Context {
        index: 3,
        term: 2,
        ..Context::default()
    });
    batch.put_adapter_record(Bytes::from_static(b"opaque"));
    assert_eq!(batch.reader().adapter_record().unwrap().unwrap(), "opaque");
    batch.commit().unwrap();
    let reopened = StateMachine::open(engine.clone()).unwrap();
    assert_eq!(
        (reopened.meta().applied_index, reopened.meta().applied_term),
        (3, 2)
    );
    let reader = tenure_statemachine::Reader::new(&*engine).unwrap();
    assert_eq!(reader.adapter_record().unwrap().unwrap(), "opaque");
}

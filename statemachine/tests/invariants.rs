//! The checker of invariants finds what is wrong: it is only worth something if it can say no.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use bytes::Bytes;
use tenure_statemachine::{
    AlarmChange, AlarmKind, Collector, Command, Context, DeleteRange, Engine, KeyRange, LeaseGrant,
    LeaseId, MemEngine, MemberId, Put, Revision, StateMachine, Table, Ttl, View, WriteBatch,
    WriteOp, invariants,
};

fn put(key: &'static str, lease: i64) -> Command {
    let (key, value, lease) = (key.into(), "value".into(), LeaseId(lease));
    Command::Put(Put {
        key,
        value,
        lease,
        ..Put::default()
    })
}

fn delete(key: &'static str) -> Command {
    let range = KeyRange::single(key.into());
    Command::DeleteRange(DeleteRange {
        range,
        want_previous: false,
    })
}

/// A state with something to break in every table.
fn state() -> MemEngine {
    let engine = Arc::new(MemEngine::new());
    let mut machine = StateMachine::open(engine.clone()).unwrap();
    let no_space = AlarmChange {
        member: MemberId(1),
        kind: Some(AlarmKind::NoSpace),
        active: true,
    };
    let script = [
        Command::LeaseGrant(LeaseGrant {
            id: LeaseId(1),
            ttl: Ttl(1),
        }),
        put("a", 0),
        put("b", 1),
        put("a", 1),
        put("c", 0),
        delete("c"),
        put("d", 0),
        Command::Alarm(no_space),
    ];
    let mut batch = machine.begin();
    for (command, index) in script.iter().zip(1..) {
        let context = Context {
            index,
            ..Context::default()
        };
        assert!(batch.apply(&context, command).unwrap().reply.is_ok());
    }
    batch.commit().unwrap();
    drop(machine);
    Arc::into_inner(engine).unwrap()
}

fn rows(engine: &MemEngine) -> Vec<(Table, Bytes, Bytes)> {
    let mut rows = Vec::new();
    for table in Table::ALL {
        let mut cursor = engine.scan(table, b"").unwrap();
        while let Some((key, value)) = cursor.next().unwrap() {
            rows.push((table, key, value));
        }
    }
    rows
}

fn write(engine: &MemEngine, op: WriteOp) {
    engine.write(WriteBatch { ops: vec![op] }).unwrap();
}

#[test]
fn a_sound_state_is_accepted() {
    assert_eq!(invariants::check(&state()), Ok(()));
    assert_eq!(invariants::check(&MemEngine::new()), Ok(()));
}

#[test]
fn a_row_of_no_family_is_rejected() {
    let engine = state();
    let row = Bytes::from_static(b"Xodd");
    write(&engine, WriteOp::Put(Table::Cluster, row, Bytes::new()));
    let verdict = invariants::check(&engine);
    assert!(verdict.is_err_and(|why| why.contains("of no family")));
}

#[test]
fn a_state_that_lost_any_row_is_rejected() {
    for (table, key, _) in rows(&state()) {
        let engine = state();
        write(&engine, WriteOp::Delete(table, key.clone()));
        assert!(
            invariants::check(&engine).is_err(),
            "{table:?} without {key:?} is accepted"
        );
    }
}

#[test]
fn a_state_with_a_row_cut_short_is_rejected() {
    for (table, key, value) in rows(&state()) {
        if value.is_empty() {
            continue;
        }
        let engine = state();
        let cut = value.slice(..value.len() - 1);
        write(&engine, WriteOp::Put(table, key.clone(), cut));
        assert!(
            invariants::check(&engine).is_err(),
            "{table:?} with {key:?} cut is accepted"
        );
    }
}

#[test]
fn a_state_with_a_stray_row_is_rejected() {
    for table in [
        Table::Current,
        Table::LeaseKeys,
        Table::Versions,
        Table::History,
    ] {
        for (donor, key, value) in rows(&state()) {
            if donor != table {
                continue;
            }
            let engine = state();
            let mut stray = key.to_vec();
            let last = stray.last_mut().unwrap();
            *last = last.wrapping_add(9);
            write(&engine, WriteOp::Put(table, Bytes::from(stray), value));
            assert!(
                invariants::check(&engine).is_err(),
                "{table:?} with a stray is accepted"
            );
        }
    }
}

#[test]
fn what_collection_left_behind_is_found() {
    let engine = Arc::new(state());
    let mut machine = StateMachine::open(engine.clone()).unwrap();
    let mut batch = machine.begin();
    let context = Context {
        index: 100,
        ..Context::default()
    };
    let compact = batch
        .apply(&context, &Command::Compact(Revision(7)))
        .unwrap();
    assert!(compact.reply.is_ok());
    batch.commit().unwrap();
    assert!(invariants::check_collected(&*engine).is_err());
    let mut collector = Collector::new();
    while !collector.step(&*engine, 1).unwrap().done {}
    assert_eq!(invariants::check_collected(&*engine), Ok(()));
    assert_eq!(invariants::check(&*engine), Ok(()));
}

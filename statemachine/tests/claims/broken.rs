//! The checker of claims finds what is wrong with them.

use std::sync::Arc;

use bytes::Bytes;
use tenure_statemachine::{
    Acquire, ClaimCommand, Command, Context, Engine, ForceRelease, LeaseGrant, LeaseId, MemEngine,
    Mode, Put, Revision, StateMachine, Table, Ttl, View, Wait, Will, WillSet, WriteBatch, WriteOp,
    invariants,
};

fn acquire(names: &[&'static str], lease: i64, mode: Mode) -> Command {
    Command::Claim(ClaimCommand::Acquire(Acquire {
        names: names.iter().copied().map(Bytes::from).collect(),
        mode,
        lease: LeaseId(lease),
        wait: Wait::Within(Ttl(500)),
        lock_delay: Ttl(100),
        ..Acquire::default()
    }))
}

/// A state with a row of every kind that claims have.
fn state() -> MemEngine {
    let engine = Arc::new(MemEngine::new());
    let mut machine = StateMachine::open(engine.clone()).unwrap();
    let grant = |id| {
        let (id, ttl) = (LeaseId(id), Ttl(9000));
        Command::LeaseGrant(LeaseGrant { id, ttl })
    };
    let script = [
        grant(1),
        grant(2),
        grant(3),
        acquire(&["a"], 1, Mode::Exclusive),
        acquire(&["a", "b"], 2, Mode::Exclusive),
        acquire(&["c"], 1, Mode::Permits { count: 1, limit: 2 }),
        acquire(&["c"], 2, Mode::Permits { count: 1, limit: 2 }),
        acquire(&["d"], 1, Mode::Exclusive),
        Command::Claim(ClaimCommand::ForceRelease(ForceRelease {
            name: "d".into(),
            token: Revision(0),
            why: "stuck".to_owned(),
        })),
        Command::Put(Put {
            key: "c/3".into(),
            lease: LeaseId(3),
            ..Put::default()
        }),
        Command::WillSet(WillSet {
            lease: LeaseId(1),
            lock: Some("a".into()),
            will: Some(Will::default()),
        }),
    ];
    let mut batch = machine.begin();
    for (command, index) in script.iter().zip(1..) {
        let context = Context {
            index,
            ..Context::default()
        };
        let outcome = batch.apply(&context, command).unwrap();
        assert!(outcome.reply.is_ok(), "{command:?}: {outcome:?}");
    }
    batch.commit().unwrap();
    drop(machine);
    Arc::into_inner(engine).unwrap()
}

/// The rows of `Cluster` that begin with this letter.
fn rows(engine: &MemEngine, letter: u8) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::new();
    let mut cursor = engine.scan(Table::Cluster, &[letter]).unwrap();
    while let Some((row, value)) = cursor.next().unwrap() {
        if row[0] != letter {
            break;
        }
        rows.push((row, value));
    }
    rows
}

fn write(engine: &MemEngine, ops: Vec<WriteOp>) {
    engine.write(WriteBatch { ops }).unwrap();
}

fn put(row: &Bytes, value: impl Into<Bytes>) -> WriteOp {
    WriteOp::Put(Table::Cluster, row.clone(), value.into())
}

fn check(engine: &MemEngine, what: &str) -> String {
    invariants::check(engine).expect_err(what)
}

#[test]
fn a_sound_state_is_accepted() {
    let engine = state();
    assert_eq!(invariants::check(&engine), Ok(()));
    assert_eq!(rows(&engine, b'C').len(), 6 + 3, "claims and tallies");
    assert_eq!(rows(&engine, b'D').len(), 1);
    assert_eq!(rows(&engine, b'T').len(), 3);
    assert_eq!(rows(&engine, b'W').len(), 1);
}

#[test]
fn a_lost_row_is_found() {
    for letter in *b"CDT" {
        for (row, _) in rows(&state(), letter) {
            let engine = state();
            write(&engine, vec![WriteOp::Delete(Table::Cluster, row.clone())]);
            check(&engine, &format!("without {row:?}"));
        }
    }
}

#[test]
fn a_row_cut_short_or_too_long_is_found() {
    for letter in *b"CDW" {
        for (row, value) in rows(&state(), letter) {
            for length in [0, value.len() - 1, value.len() + 1] {
                let engine = state();
                let mut changed = value.to_vec();
                changed.resize(length, 0);
                write(&engine, vec![put(&row, changed)]);
                check(&engine, &format!("{row:?} of {length} bytes"));
            }
        }
    }
}

#[test]
fn a_stray_row_is_found() {
    for letter in *b"CDTW" {
        for (row, value) in rows(&state(), letter) {
            let engine = state();
            let mut stray = row.to_vec();
            stray.push(b'9');
            write(&engine, vec![put(&Bytes::from(stray), value)]);
            check(&engine, &format!("a stray beside {row:?}"));
        }
    }
}

#[test]
fn a_claim_without_any_row_is_found() {
    let engine = state();
    let of_c = rows(&engine, b'C').into_iter();
    let of_c = of_c.filter(|(row, _)| row.starts_with(b"Cc\0\0"));
    let ops = of_c.map(|(row, _)| WriteOp::Delete(Table::Cluster, row));
    write(&engine, ops.collect());
    let error = check(&engine, "keys without rows");
    assert!(error.contains("is a claim without a row"), "{error}");
}

/// The first two claims of the state: one holds, one waits behind it. With their summary.
fn holder_and_waiter(engine: &MemEngine) -> [(Bytes, Vec<u8>); 3] {
    let rows = rows(engine, b'C');
    [0, 1, 2].map(|at| (rows[at].0.clone(), rows[at].1.to_vec()))
}

#[test]
fn two_that_hold_what_excludes_the_other_are_found() {
    let engine = state();
    let [(_, _), (row, value), (waits_row, _)] = holder_and_waiter(&engine);
    let [(summary_row, mut summary), ..] = holder_and_waiter(&engine);
    // The second takes over everything that the first has in its row; the summary counts two.
    summary[5..9].copy_from_slice(&2_u32.to_be_bytes());
    write(
        &engine,
        vec![put(&waits_row, value), put(&summary_row, summary)],
    );
    let error = check(&engine, "two hold");
    assert!(error.contains("must not hold"), "{error} {row:?}");
}

#[test]
fn a_name_that_nobody_holds_though_somebody_could_is_found() {
    let engine = state();
    let [(summary_row, mut summary), (row, mut value), _] = holder_and_waiter(&engine);
    // Neither does the first hold, nor does the summary say that anybody does.
    value[1] &= !1;
    summary[5..9].copy_from_slice(&0_u32.to_be_bytes());
    summary[17] = 0;
    // The head and the front of the queue are the same then.
    summary.copy_within(26..34, 34);
    write(&engine, vec![put(&row, value), put(&summary_row, summary)]);
    let error = check(&engine, "nobody holds");
    assert!(error.contains("somebody could be"), "{error}");
}

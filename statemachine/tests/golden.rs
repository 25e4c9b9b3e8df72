//! Bytes that were ever stored must mean the same for ever.
//!
//! `golden/commands.txt` holds an encoding of every command, `golden/outcomes.txt` of every
//! outcome that may be remembered; `golden/state.txt` every row of a small state, and
//! `golden/coordination.txt` of one with locks, sessions and the like, `golden/users.txt` of one
//! with users and roles. A line may be added; one
//! that changes breaks every node that holds such bytes. `BLESS=1` writes the files, for new lines
//! only.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::disallowed_methods,
    reason = "golden bytes are files, blessing is asked for"
)]

mod samples;

use std::{fmt::Write, fs, path::Path, sync::Arc};

use bytes::Bytes;
use samples::{
    commands::{commands, put},
    outcomes, state as coordinated, users,
};
use tenure_statemachine::{
    AlarmChange, AlarmKind, ClaimState, ClusterTime, Command, Context, DeleteRange, Facts,
    KeyRange, LeaseGrant, LeaseId, MemEngine, MemberId, Outcome, Put, RangeQuery, Reader, Reply,
    Revision, StateMachine, Table, Ttl, View, codec, decode_entry, decode_group, encode_entry,
    encode_group, invariants,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Bytes {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn golden(name: &str) -> String {
    let path = Path::new("tests/golden").join(name);
    fs::read_to_string(path).unwrap()
}

fn compare_with_golden(name: &str, present: &str) {
    if std::env::var_os("BLESS").is_some() {
        let path = Path::new("tests/golden").join(name);
        fs::write(path, present).unwrap();
    }
    assert_eq!(present, golden(name));
}

#[test]
fn every_command_has_its_bytes_for_ever() {
    let mut present = String::new();
    for (name, command) in commands() {
        let group = encode_group(5, 300, &[command]);
        writeln!(present, "{name} {}", hex(&group)).unwrap();
    }
    let groups: Vec<Bytes> = commands()
        .into_iter()
        .take(2)
        .map(|(_, command)| encode_group(1, 2, &[command]))
        .collect();
    writeln!(
        present,
        "entry {}",
        hex(&encode_entry(ClusterTime(1 << 40), &groups))
    )
    .unwrap();
    compare_with_golden("commands.txt", &present);
}

#[test]
fn golden_bytes_decode_to_the_same_commands_for_ever() {
    let lines = golden("commands.txt");
    let mut lines = lines.lines().map(|line| line.split_once(' ').unwrap());
    for (name, command) in commands() {
        let (stored, bytes) = lines.next().unwrap();
        assert_eq!(stored, name);
        let group = decode_group(unhex(bytes)).unwrap();
        assert_eq!((group.origin, group.sequence), (5, 300));
        assert_eq!(group.commands, vec![command]);
    }
    let entry = decode_entry(unhex(lines.next().unwrap().1)).unwrap();
    assert_eq!(entry.now, ClusterTime(1 << 40));
    let entries: Vec<Command> = entry
        .groups
        .into_iter()
        .flat_map(|group| group.commands)
        .collect();
    let expected: Vec<Command> = commands()
        .into_iter()
        .take(2)
        .map(|(_, command)| command)
        .collect();
    assert_eq!(entries, expected);
}

/// A state with a row of every kind.
fn state() -> Arc<MemEngine> {
    let engine = Arc::new(MemEngine::new());
    let mut machine = StateMachine::open(engine.clone()).unwrap();
    let plain = |key: &'static str, value: &'static str| {
        Command::Put(Put {
            key: key.into(),
            value: value.into(),
            ..Put::default()
        })
    };
    let leased = Put {
        lease: LeaseId(7),
        ..put()
    };
    let gone = DeleteRange {
        range: KeyRange::single("foo".into()),
        want_previous: false,
    };
    let mut script = vec![
        Command::LeaseGrant(LeaseGrant {
            id: LeaseId(7),
            ttl: Ttl(60_000),
        }),
        plain("foo", "bar"),
        Command::Put(leased),
        Command::DeleteRange(gone),
        plain("zero\0byte", ""),
        Command::Compact(Revision(2)),
    ];
    let outward = |(_, command): (&str, Command)| match command {
        Command::Alarm(AlarmChange { active: true, .. }) | Command::MemberPublish(_) => {
            Some(command)
        }
        _ => None,
    };
    script.extend(commands().into_iter().filter_map(outward));
    let mut batch = machine.begin();
    for (command, index) in script.iter().zip(1..) {
        let context = Context {
            index,
            term: 3,
            now: ClusterTime(1_000 * index),
        };
        assert!(
            batch.apply(&context, command).unwrap().reply.is_ok(),
            "{command:?}"
        );
    }
    batch.put_adapter_record(Bytes::from_static(b"adapter"));
    batch.commit().unwrap();
    let mut collector = tenure_statemachine::Collector::new();
    assert!(collector.step(&*engine, 100).unwrap().done);
    engine
}

#[test]
fn every_row_has_its_bytes_for_ever() {
    let engine = state();
    invariants::check(&*engine).unwrap();
    let present = rows(&engine);
    for table in Table::ALL {
        let named = |line: &str| line.starts_with(&format!("{table:?} "));
        assert!(present.lines().any(named), "{table:?} has no golden row");
    }
    compare_with_golden("state.txt", &present);
}

/// Every row of a state, a line each.
fn rows(engine: &MemEngine) -> String {
    let mut lines = String::new();
    for table in Table::ALL {
        let mut cursor = engine.scan(table, b"").unwrap();
        while let Some((key, value)) = cursor.next().unwrap() {
            writeln!(lines, "{table:?} {} = {}", hex(&key), hex(&value)).unwrap();
        }
    }
    lines
}

/// An engine with the rows of a golden state.
fn stored(name: &str) -> Arc<MemEngine> {
    let engine = Arc::new(MemEngine::new());
    let mut ops = Vec::new();
    for line in golden(name).lines() {
        let (table, row) = line.split_once(' ').unwrap();
        let (key, value) = row.split_once(" =").unwrap();
        let table = Table::ALL
            .into_iter()
            .find(|known| format!("{known:?}") == table)
            .unwrap();
        ops.push(tenure_statemachine::WriteOp::Put(
            table,
            unhex(key),
            unhex(value.trim()),
        ));
    }
    let batch = tenure_statemachine::WriteBatch { ops };
    tenure_statemachine::Engine::write(&*engine, batch).unwrap();
    invariants::check(&*engine).unwrap();
    engine
}

#[test]
fn history_rows_are_written_as_etcd_writes_them() {
    let engine = state();
    let row = |key: &str| {
        engine
            .get(Table::History, &unhex(key))
            .unwrap()
            .map(|row| hex(&row))
    };
    // Put of foo=bar at 2: key, create 2, mod 2, version 1, value; no lease.
    let put = row("00000000000000025f0000000000000000").unwrap();
    assert_eq!(put, "0a03666f6f1002180220012a03626172");
    // Put of key=value at 3 with lease 7.
    let leased = row("00000000000000035f0000000000000000").unwrap();
    assert_eq!(leased, "0a036b65791003180320012a0576616c75653007");
    // Tombstone of foo at 4: the key, and the mark in the row.
    let tombstone = row("00000000000000045f000000000000000074").unwrap();
    assert_eq!(tombstone, "0a03666f6f");
    // Put of an empty value: the field is left out.
    let empty = row("00000000000000055f0000000000000000").unwrap();
    assert_eq!(empty, "0a097a65726f0062797465100518052001");
}

#[test]
fn a_golden_state_is_read_as_it_was_written() {
    let engine = stored("state.txt");
    let reader = Reader::new(&*engine).unwrap();
    assert_eq!(reader.meta().revision, Revision(5));
    assert_eq!(reader.adapter_record().unwrap().unwrap(), "adapter");
    let all = KeyRange::from_wire(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let found = reader.range(&RangeQuery::latest(all)).unwrap();
    let keys: Vec<Bytes> = found.kvs.into_iter().map(|kv| kv.key).collect();
    assert_eq!(keys, ["key".as_bytes(), b"zero\0byte"]);
    assert_eq!(reader.lease_keys(LeaseId(7)).unwrap(), ["key"]);
    assert_eq!(
        reader.alarms().unwrap(),
        [(MemberId(u64::MAX), AlarmKind::NoSpace)]
    );
    assert_eq!(reader.members().unwrap()[0].name, "three");
}

/// Every sample of an outcome, by name.
fn outcomes() -> Vec<(String, Outcome)> {
    let replies = outcomes::replies().into_iter();
    let replies = replies.map(|(name, reply)| (name.to_owned(), Ok(reply)));
    let refusals = outcomes::refusals().into_iter();
    let refusals = refusals.map(|(name, refusal)| (format!("refused_{name}"), Err(refusal)));
    let outcome = |(name, reply)| {
        let outcome = Outcome {
            reply,
            revision: Revision(300),
            events: Vec::new(),
            signals: Vec::new(),
            facts: Facts::default(),
        };
        (name, outcome)
    };
    replies.chain(refusals).map(outcome).collect()
}

#[test]
fn every_outcome_has_its_bytes_for_ever() {
    let mut present = String::new();
    for (name, outcome) in outcomes() {
        let bytes = codec::encode_outcome(&outcome, usize::MAX).unwrap();
        writeln!(present, "{name} {}", hex(&bytes)).unwrap();
    }
    compare_with_golden("outcomes.txt", &present);
}

#[test]
fn golden_bytes_decode_to_the_same_outcomes_for_ever() {
    let stored = golden("outcomes.txt");
    let lines = stored.lines().map(|line| line.split_once(' ').unwrap());
    let decoded: Vec<(String, Outcome)> = lines
        .map(|(name, bytes)| {
            (
                name.to_owned(),
                codec::decode_outcome(unhex(bytes)).unwrap(),
            )
        })
        .collect();
    assert_eq!(decoded, outcomes());
}

#[test]
fn every_row_of_coordination_has_its_bytes_for_ever() {
    let engine = coordinated::engine();
    invariants::check(&*engine).unwrap();
    let present = rows(&engine);
    for letter in b"BCDFGINRSTW" {
        let row = format!("Cluster {letter:02x}");
        let is_there = present.lines().any(|line| line.starts_with(&row));
        assert!(is_there, "there is no row {:?}", char::from(*letter));
    }
    compare_with_golden("coordination.txt", &present);
}

#[test]
fn every_row_of_users_and_roles_has_its_bytes_for_ever() {
    let engine = users::engine();
    invariants::check(&*engine).unwrap();
    let present = rows(&engine);
    for letter in b"EHJLPQTW" {
        let row = format!("Cluster {letter:02x}");
        let is_there = present.lines().any(|line| line.starts_with(&row));
        assert!(is_there, "there is no row {:?}", char::from(*letter));
    }
    compare_with_golden("users.txt", &present);
}

#[test]
fn a_golden_state_of_users_is_read_as_it_was_written() {
    let engine = stored("users.txt");
    let reader = Reader::new(&*engine).unwrap();
    let state = reader.auth().unwrap();
    assert!(state.enabled);
    assert_eq!((state.revision.0, state.users, state.roles), (7, 2, 1));
    assert_eq!(reader.token_secret().unwrap().unwrap().len(), 32);
    let ann = reader.user("ann").unwrap().unwrap();
    assert_eq!(ann.password.unwrap(), "$2a$10$hash");
    assert_eq!(
        (ann.password_generation, ann.roles),
        (4, vec!["app".to_owned()])
    );
    let permissions = reader.permissions("ann").unwrap().unwrap();
    assert!(permissions.may_write(&KeyRange::single("a".into())));
    let owner = reader.session_owner(LeaseId(7)).unwrap().unwrap();
    assert_eq!((owner.name.as_str(), owner.added), ("ann", ann.added));
    assert_eq!((ann.added.0, state.enabled_at.0), (4, 7));
}

#[test]
fn a_golden_state_of_coordination_is_read_as_it_was_written() {
    let engine = stored("coordination.txt");
    let reader = Reader::new(&*engine).unwrap();
    let session = reader.session(LeaseId(7)).unwrap().unwrap();
    assert_eq!((session.remembered, session.forgotten), (1, 299));
    assert_eq!(reader.policies().unwrap()[0].lock, "lock");
    let queue = reader.queue(b"lock", 9).unwrap();
    let leases = |claims: &[ClaimState]| claims.iter().map(|claim| claim.lease.0).collect();
    let (holders, waiters): (Vec<_>, Vec<_>) = (leases(&queue.holders), leases(&queue.waiters));
    assert_eq!((holders, waiters), (vec![8], vec![9]));
    // Repeats are answered from it, by the revisions of then.
    let mut machine = StateMachine::open(engine.clone()).unwrap();
    let mut batch = machine.begin();
    let context = Context {
        index: 100,
        ..Context::default()
    };
    for (request, key, revision) in [
        (coordinated::numbered(), "by number", Revision(2)),
        (coordinated::keyed(), "by key", Revision(3)),
    ] {
        let again = batch
            .apply(&context, &coordinated::identified(request, key))
            .unwrap();
        assert_eq!(
            (again.reply, again.revision),
            (Ok(Reply::Put(None)), revision)
        );
    }
}

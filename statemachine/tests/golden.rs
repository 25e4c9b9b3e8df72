//! Bytes that were ever stored must mean the same for ever.
//!
//! `golden/commands.txt` holds an encoding of every command variant, `golden/state.txt` every row
//! of a small state. A line may be added; one that changes breaks every node that holds such bytes.
//! `BLESS=1` writes the files and is for new lines only.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::disallowed_methods,
    reason = "golden bytes are files, blessing is asked for"
)]

use std::{fmt::Write, fs, path::Path, sync::Arc};

use bytes::Bytes;
use tenure_statemachine::{
    AlarmChange, AlarmKind, ClusterTime, Command, Compare, Context, DeleteRange, KeyRange,
    LeaseExpiry, LeaseGrant, LeaseId, MemEngine, MemberAttributes, MemberId, Operand, Put,
    RangeQuery, Reader, Relation, Revision, SortOrder, SortTarget, StateMachine, Table, Ttl, Txn,
    TxnOp, View, decode_entry, decode_group, encode_entry, encode_group, invariants,
};

fn put() -> Put {
    Put {
        key: "key".into(),
        value: "value".into(),
        lease: LeaseId(i64::MAX),
        want_previous: true,
        ..Put::default()
    }
}

fn query() -> RangeQuery {
    RangeQuery {
        limit: 10,
        revision: Revision(300),
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Value,
        keys_only: true,
        count_only: true,
        min_mod_revision: Revision(1),
        max_mod_revision: Revision(2),
        min_create_revision: Revision(3),
        max_create_revision: Revision(4),
        ..RangeQuery::latest(KeyRange::from_wire("a".into(), "b".into()))
    }
}

fn compare(relation: Relation, operand: Operand) -> Compare {
    Compare {
        range: KeyRange::single("k".into()),
        relation,
        operand,
    }
}

fn txn() -> Txn {
    let unbounded = KeyRange::from_wire("z".into(), Bytes::from_static(b"\0"));
    let delete = DeleteRange {
        range: unbounded,
        want_previous: false,
    };
    Txn {
        compare: vec![
            compare(Relation::Equal, Operand::Version(0)),
            compare(Relation::Greater, Operand::Create(Revision(-1))),
            compare(Relation::Less, Operand::Mod(Revision(1))),
            compare(Relation::NotEqual, Operand::Value("v".into())),
            compare(Relation::Equal, Operand::Lease(LeaseId(i64::MIN))),
        ],
        success: vec![
            TxnOp::Range(query()),
            TxnOp::Put(put()),
            TxnOp::DeleteRange(delete),
        ],
        failure: vec![TxnOp::Txn(Txn {
            success: vec![TxnOp::Range(RangeQuery::latest(KeyRange::single(
                "k".into(),
            )))],
            ..Txn::default()
        })],
    }
}

fn commands() -> Vec<(&'static str, Command)> {
    let kept = Put {
        key: "k".into(),
        ignore_value: true,
        ignore_lease: true,
        ..Put::default()
    };
    let range = KeyRange::from_wire("a".into(), "b".into());
    let alarm = |member, kind, active| {
        Command::Alarm(AlarmChange {
            member: MemberId(member),
            kind,
            active,
        })
    };
    let expiries = vec![
        LeaseExpiry {
            id: LeaseId(1),
            generation: 1,
        },
        LeaseExpiry {
            id: LeaseId(-1),
            generation: u64::MAX,
        },
    ];
    vec![
        ("put", Command::Put(put())),
        ("put_keeping", Command::Put(kept)),
        (
            "delete_range",
            Command::DeleteRange(DeleteRange {
                range,
                want_previous: true,
            }),
        ),
        ("txn", Command::Txn(txn())),
        ("txn_empty", Command::Txn(Txn::default())),
        ("compact", Command::Compact(Revision(1_000_000))),
        (
            "lease_grant",
            Command::LeaseGrant(LeaseGrant {
                id: LeaseId(7),
                ttl: Ttl(60_000),
            }),
        ),
        ("lease_revoke", Command::LeaseRevoke(LeaseId(7))),
        (
            "lease_renew",
            Command::LeaseRenew(vec![LeaseId(7), LeaseId(-8)]),
        ),
        ("lease_expire", Command::LeaseExpire(expiries)),
        (
            "alarm_raise",
            alarm(u64::MAX, Some(AlarmKind::NoSpace), true),
        ),
        ("alarm_clear", alarm(1, Some(AlarmKind::Corrupt), false)),
        ("alarm_clear_all", alarm(0, None, false)),
        (
            "member_publish",
            Command::MemberPublish(MemberAttributes {
                id: MemberId(3),
                name: "three".to_owned(),
                client_urls: vec!["http://a:1".to_owned(), "https://b:2".to_owned()],
            }),
        ),
    ]
}

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
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    fs::read_to_string(path).unwrap()
}

fn compare_with_golden(name: &str, present: &str) {
    if std::env::var_os("BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(name);
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
    let mut present = String::new();
    for table in Table::ALL {
        let mut cursor = engine.scan(table, b"").unwrap();
        let mut rows = 0;
        while let Some((key, value)) = cursor.next().unwrap() {
            writeln!(present, "{table:?} {} = {}", hex(&key), hex(&value)).unwrap();
            rows += 1;
        }
        assert!(rows > 0, "{table:?} has no golden row");
    }
    compare_with_golden("state.txt", &present);
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
    let engine = MemEngine::new();
    let mut ops = Vec::new();
    for line in golden("state.txt").lines() {
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
    tenure_statemachine::Engine::write(&engine, batch).unwrap();
    invariants::check(&engine).unwrap();
    let reader = Reader::new(&engine).unwrap();
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

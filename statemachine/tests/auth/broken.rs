//! Rows that contradict each other are found by the invariants.

use bytes::Bytes;
use tenure_statemachine::{
    Engine, Reader, StateMachine, Table, View, WriteBatch, WriteOp, invariants,
};

use super::setup::{Machine, with_users};

fn row(node: &Machine, key: &str) -> Bytes {
    let found = node.engine.get(Table::Cluster, key.as_bytes()).unwrap();
    found.unwrap_or_else(|| panic!("there is no row {key}"))
}

/// Writes a row behind the machine's back; `None` deletes it.
fn broken(key: &str, value: Option<&[u8]>) -> String {
    let node = with_users();
    invariants::check(&*node.engine).unwrap();
    let key = Bytes::copy_from_slice(key.as_bytes());
    let op = match value {
        Some(value) => WriteOp::Put(Table::Cluster, key, Bytes::copy_from_slice(value)),
        None => WriteOp::Delete(Table::Cluster, key),
    };
    node.engine.write(WriteBatch { ops: vec![op] }).unwrap();
    invariants::check(&*node.engine).unwrap_err()
}

#[test]
fn contradictions_between_rows_are_found() {
    let node = with_users();
    let secret = row(&node, "J");
    assert_eq!(secret.len(), 32);
    let mut disabled = row(&node, "E").to_vec();
    disabled[1] = 0;
    for (key, value, words) in [
        ("Pann", None, "users and roles"),
        ("Qann", None, "users and roles"),
        ("Pnew", Some(row(&node, "Pann")), "users and roles"),
        // Its role is gone, and another is there instead.
        ("E", None, "users and roles"),
        // Disabled, and the counters say the opposite.
        ("E", Some(disabled.into()), "authenticates: true"),
        ("J", Some(secret.slice(1..)), "secret"),
        // Generation 300, no roles.
        (
            "Pann",
            Some(Bytes::from_static(&[1, 0, 0xac, 2, 1, 0])),
            "generation 300",
        ),
        // A user that was added after its password was set.
        (
            "Pann",
            Some(Bytes::from_static(&[1, 0, 1, 2, 0])),
            "added 2",
        ),
        // Roles out of order.
        (
            "Pann",
            Some(Bytes::from_static(b"\x01\0\x01\x01\x02\x03bob\x03ann")),
            "ann",
        ),
        // A role that does not exist.
        (
            "Pann",
            Some(Bytes::from_static(b"\x01\0\x01\x01\x01\x03two")),
            "two",
        ),
        // Root without its role.
        (
            "Proot",
            Some(Bytes::from_static(b"\x01\0\x01\x01\0")),
            "without root",
        ),
        // A permission for no key, and two out of order.
        (
            "Qann",
            Some(Bytes::from_static(b"\x01\x01\0\0\0")),
            "role \"ann\"",
        ),
        (
            "Qann",
            Some(Bytes::from_static(b"\x01\x02\0\x01b\0\0\x01a\0")),
            "role \"ann\"",
        ),
        // Owner of a session that is none.
        (
            "H12345678",
            Some(Bytes::from_static(b"ann")),
            "owner of no session",
        ),
    ] {
        let found = broken(key, value.as_deref());
        assert!(found.contains(words), "{key}: {found}");
    }
}

/// Reads ask the counters alone, so that they would be open to everybody.
#[test]
fn a_state_whose_counters_know_of_no_users_is_not_opened() {
    let node = with_users();
    let key = b"\0";
    let mut counters = node.engine.get(Table::Meta, key).unwrap().unwrap().to_vec();
    let flags = counters.last_mut().unwrap();
    assert_eq!(*flags & 4, 4);
    *flags &= !4;
    let op = WriteOp::Put(Table::Meta, Bytes::from_static(key), counters.into());
    node.engine.write(WriteBatch { ops: vec![op] }).unwrap();
    let opened = StateMachine::open(node.engine.clone());
    let fault = opened.unwrap_err().to_string();
    assert!(fault.contains("counters contradict"), "{fault}");
}

#[test]
fn rows_of_another_layout_do_not_decode() {
    for key in ["E", "Pann", "Qann"] {
        let found = broken(key, Some(b"\x02"));
        assert!(found.contains("unknown layout"), "{key}: {found}");
    }
    let node = with_users();
    let op = WriteOp::Put(Table::Cluster, "P".into(), row(&node, "Pann"));
    node.engine.write(WriteBatch { ops: vec![op] }).unwrap();
    let nameless = Reader::new(&*node.engine).unwrap().users();
    assert!(nameless.is_err());
}

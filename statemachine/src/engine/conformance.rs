//! The contract of an [`Engine`], as assertions that any engine's tests can run.
//!
//! Not a crash test: each engine has to test what survives a crash. Invariant: an engine that
//! passes can replace another without a change of the machine's behaviour.

use std::sync::Arc;

use bytes::Bytes;

use super::{Cursor, Engine, Table, View, WriteBatch, WriteOp};

/// Runs every check, each on a fresh engine from `make`.
///
/// # Panics
/// When the engine breaks its contract, or cannot read or write.
pub fn run(make: &dyn Fn() -> Arc<dyn Engine>) {
    for check in [
        an_empty_engine_has_no_rows,
        a_written_row_is_read_back,
        tables_are_apart,
        the_last_write_to_a_key_wins,
        a_scan_is_in_byte_order_from_its_start,
        a_cursor_skips_forward_and_goes_on,
        a_deleted_row_is_gone_from_gets_and_scans,
        a_snapshot_does_not_change,
        odd_keys_and_values_are_kept,
        many_rows_are_all_found,
        several_rows_are_read_at_once,
        a_read_of_several_rows_sees_the_last_write,
    ] {
        check(make().as_ref());
    }
}

fn an_empty_engine_has_no_rows(engine: &dyn Engine) {
    for table in Table::ALL {
        assert_eq!(get(engine, table, "a"), None, "{table:?} has a row");
        assert_eq!(
            keys(engine, table, ""),
            Vec::<Bytes>::new(),
            "{table:?} has rows"
        );
    }
}

fn a_written_row_is_read_back(engine: &dyn Engine) {
    write(
        engine,
        vec![put(Table::Current, "a", "1"), put(Table::Current, "b", "")],
    );
    assert_eq!(get(engine, Table::Current, "a"), Some(Bytes::from("1")));
    assert_eq!(
        get(engine, Table::Current, "b"),
        Some(Bytes::new()),
        "an empty value is a value"
    );
    assert_eq!(get(engine, Table::Current, ""), None);
    assert_eq!(get(engine, Table::Current, "ab"), None);
}

fn tables_are_apart(engine: &dyn Engine) {
    for table in Table::ALL {
        write(engine, vec![put(table, "k", &format!("{table:?}"))]);
    }
    for table in Table::ALL {
        assert_eq!(
            get(engine, table, "k"),
            Some(Bytes::from(format!("{table:?}")))
        );
        assert_eq!(
            keys(engine, table, ""),
            vec!["k"],
            "{table:?} shows other tables' rows"
        );
    }
}

fn the_last_write_to_a_key_wins(engine: &dyn Engine) {
    let table = Table::Leases;
    write(
        engine,
        vec![
            put(table, "a", "1"),
            delete(table, "a"),
            put(table, "a", "2"),
        ],
    );
    assert_eq!(get(engine, table, "a"), Some(Bytes::from("2")));
    write(
        engine,
        vec![
            put(table, "a", "3"),
            delete(table, "a"),
            delete(table, "never"),
        ],
    );
    assert_eq!(get(engine, table, "a"), None);
    write(engine, Vec::new());
    assert_eq!(keys(engine, table, ""), Vec::<Bytes>::new());
}

fn a_scan_is_in_byte_order_from_its_start(engine: &dyn Engine) {
    let table = Table::Current;
    for key in ["b", "a", "ab", "c", "a\0", "\u{ff}"] {
        write(engine, vec![put(table, key, "")]);
    }
    assert_eq!(
        keys(engine, table, ""),
        ["a", "a\0", "ab", "b", "c", "\u{ff}"]
    );
    assert_eq!(
        keys(engine, table, "ab"),
        ["ab", "b", "c", "\u{ff}"],
        "the start is included"
    );
    assert_eq!(keys(engine, table, "aa"), ["ab", "b", "c", "\u{ff}"]);
    assert_eq!(keys(engine, table, "\u{ff}\0"), Vec::<Bytes>::new());
}

fn a_cursor_skips_forward_and_goes_on(engine: &dyn Engine) {
    let table = Table::Versions;
    let rows = ["a", "c", "e", "g", "i"].map(|key| put(table, key, ""));
    write(engine, rows.to_vec());
    let mut cursor = engine.scan(table, b"").expect("a scan");
    let mut next = || key_of(cursor.as_mut());
    assert_eq!(next(), Some(Bytes::from("a")));
    assert_eq!(next(), Some(Bytes::from("c")));
    cursor.skip_to(b"d").expect("a skip to between rows");
    assert_eq!(key_of(cursor.as_mut()), Some(Bytes::from("e")));
    cursor.skip_to(b"g").expect("a skip to the next row");
    assert_eq!(key_of(cursor.as_mut()), Some(Bytes::from("g")));
    cursor.skip_to(b"z").expect("a skip beyond the last row");
    assert_eq!(key_of(cursor.as_mut()), None);
    assert_eq!(key_of(cursor.as_mut()), None, "the end stays the end");
    let mut counted = engine.scan(table, b"b").expect("a scan");
    let next = counted.next_key().expect("a step");
    assert_eq!(
        next,
        Some(Bytes::from("c")),
        "a step without value is a step"
    );
    assert_eq!(key_of(counted.as_mut()), Some(Bytes::from("e")));
    let mut fresh = engine.scan(table, b"b").expect("a scan");
    fresh.skip_to(b"i").expect("a skip before the first read");
    assert_eq!(key_of(fresh.as_mut()), Some(Bytes::from("i")));
}

fn a_deleted_row_is_gone_from_gets_and_scans(engine: &dyn Engine) {
    let table = Table::History;
    write(
        engine,
        vec![
            put(table, "a", "1"),
            put(table, "b", "2"),
            put(table, "c", "3"),
        ],
    );
    write(engine, vec![delete(table, "b")]);
    assert_eq!(get(engine, table, "b"), None);
    assert_eq!(keys(engine, table, ""), ["a", "c"]);
    assert_eq!(keys(engine, table, "b"), ["c"]);
}

fn a_snapshot_does_not_change(engine: &dyn Engine) {
    let table = Table::Current;
    write(engine, vec![put(table, "a", "1"), put(table, "b", "1")]);
    let snapshot = engine.snapshot().expect("a snapshot");
    write(
        engine,
        vec![
            put(table, "a", "2"),
            delete(table, "b"),
            put(table, "c", "2"),
        ],
    );
    assert_eq!(get(snapshot.as_ref(), table, "a"), Some(Bytes::from("1")));
    assert_eq!(get(snapshot.as_ref(), table, "b"), Some(Bytes::from("1")));
    assert_eq!(keys(snapshot.as_ref(), table, ""), ["a", "b"]);
    assert_eq!(get(engine, table, "a"), Some(Bytes::from("2")));
    assert_eq!(keys(engine, table, ""), ["a", "c"]);
}

fn odd_keys_and_values_are_kept(engine: &dyn Engine) {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let large = Bytes::from(vec![7_u8; 2 * 1024 * 1024]);
    let ops = vec![
        WriteOp::Put(Table::Current, Bytes::from(all.clone()), large.clone()),
        WriteOp::Put(
            Table::Current,
            Bytes::from_static(&[0]),
            Bytes::from(all.clone()),
        ),
        WriteOp::Put(
            Table::Current,
            Bytes::from_static(&[0xff; 300]),
            Bytes::from_static(&[0]),
        ),
    ];
    write(engine, ops);
    let read = |key: &[u8]| engine.get(Table::Current, key).expect("a get");
    assert_eq!(read(&all), Some(large));
    assert_eq!(read(&[0]), Some(Bytes::from(all)));
    assert_eq!(read(&[0xff; 300]), Some(Bytes::from_static(&[0])));
}

fn many_rows_are_all_found(engine: &dyn Engine) {
    let rows: Vec<String> = (0..5000).map(|row| format!("{row:08}")).collect();
    for chunk in rows.chunks(500) {
        write(
            engine,
            chunk
                .iter()
                .map(|key| put(Table::LeaseKeys, key, key))
                .collect(),
        );
    }
    assert_eq!(keys(engine, Table::LeaseKeys, ""), rows);
}

/// Few and many keys, some of them absent, and the same row under two keys with a common prefix.
fn several_rows_are_read_at_once(engine: &dyn Engine) {
    for table in [Table::Current, Table::Cluster] {
        let rows: Vec<String> = (0..500).map(|row| format!("{row:04}")).collect();
        let present = rows.iter().step_by(2);
        write(engine, present.map(|key| put(table, key, key)).collect());
        write(engine, vec![put(table, "0000", ""), delete(table, "0002")]);
        assert_eq!(
            engine.get_many(table, &[]).expect("a get of none"),
            Vec::<Option<Bytes>>::new()
        );
        for asked in [1, 2, 9, 64, 65, 500] {
            let asked: Vec<Bytes> = rows.iter().take(asked).cloned().map(Bytes::from).collect();
            let found = engine.get_many(table, &asked).expect("a get of several");
            let single = |key: &Bytes| engine.get(table, key).expect("a get");
            let expected: Vec<_> = asked.iter().map(single).collect();
            assert_eq!(found, expected, "of {} keys", asked.len());
        }
    }
}

fn a_read_of_several_rows_sees_the_last_write(engine: &dyn Engine) {
    let table = Table::Current;
    let keys: Vec<Bytes> = (0..100).map(|row| format!("{row:03}").into()).collect();
    for value in ["1", "2"] {
        let key = |key: &Bytes| WriteOp::Put(table, key.clone(), Bytes::from(value));
        write(engine, keys.iter().map(key).collect());
        let found = engine.get_many(table, &keys).expect("a get of several");
        assert_eq!(found, vec![Some(Bytes::from(value)); 100]);
    }
}

fn put(table: Table, key: &str, value: &str) -> WriteOp {
    WriteOp::Put(
        table,
        Bytes::copy_from_slice(key.as_bytes()),
        Bytes::from(value.to_owned()),
    )
}

fn delete(table: Table, key: &str) -> WriteOp {
    WriteOp::Delete(table, Bytes::copy_from_slice(key.as_bytes()))
}

fn write(engine: &dyn Engine, ops: Vec<WriteOp>) {
    engine.write(WriteBatch { ops }).expect("a write");
}

fn get<V: View + ?Sized>(view: &V, table: Table, key: &str) -> Option<Bytes> {
    view.get(table, key.as_bytes()).expect("a get")
}

fn keys<V: View + ?Sized>(view: &V, table: Table, from: &str) -> Vec<Bytes> {
    let mut cursor = view.scan(table, from.as_bytes()).expect("a scan");
    std::iter::from_fn(|| key_of(cursor.as_mut())).collect()
}

fn key_of(cursor: &mut dyn Cursor) -> Option<Bytes> {
    cursor.next().expect("a step").map(|(key, _)| key)
}

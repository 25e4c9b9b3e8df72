//! The checksum behind a database, and the texts of etcd's tools about it.

use bytes::Bytes;
use tenure_backup::file::{Checksum, SnapshotFile, check_saved, has_checksum};

use crate::written::{Buckets, sealed, write};

fn verified(file: &Bytes) -> Result<(), String> {
    let snapshot = SnapshotFile::open(file).unwrap();
    snapshot
        .verify_checksum()
        .map_err(|error| error.to_string())
}

fn sample() -> Bytes {
    let rows = [("k".into(), vec![1; 3000].into())].into();
    write(&Buckets::from([("b".into(), rows)]))
}

#[test]
fn a_saved_snapshot_is_verified_and_read() {
    let database = sample();
    let file = sealed(&database);
    verified(&file).unwrap();
    check_saved(file.len() as u64).unwrap();
    let snapshot = SnapshotFile::open(&file).unwrap();
    assert!(snapshot.has_checksum());
    assert_eq!(snapshot.database_bytes(), database.len() as u64);
    assert_eq!(snapshot.database().unwrap().check().unwrap().rows, 1);
}

#[test]
fn a_database_without_a_checksum_is_read_and_not_verified() {
    let database = sample();
    let snapshot = SnapshotFile::open(&database).unwrap();
    assert!(!snapshot.has_checksum());
    assert_eq!(snapshot.database().unwrap().check().unwrap().rows, 1);
    let text = "snapshot missing hash but --skip-hash-check=false";
    assert_eq!(verified(&database).unwrap_err(), text);
}

#[test]
fn a_changed_database_is_named_with_both_checksums() {
    let mut file = sealed(&sample()).to_vec();
    let last = file.len() - 1;
    file[last] = file[last].wrapping_add(1);
    let text = verified(&file.into()).unwrap_err();
    let (expected, got) = text.split_once(", got ").expect("two checksums");
    let expected = expected.strip_prefix("expected sha256 [").unwrap();
    let numbers = |text: &str| -> Vec<u8> {
        let numbers = text.trim_end_matches(']').trim_start_matches('[');
        numbers
            .split(' ')
            .map(|word| word.parse().unwrap())
            .collect()
    };
    let (expected, got) = (numbers(expected), numbers(got));
    assert_eq!((expected.len(), got.len()), (32, 32));
    assert_eq!(expected[..31], got[..31]);
    assert_eq!(expected[31], got[31].wrapping_add(1));
}

#[test]
fn a_checksum_prints_as_in_go() {
    let mut bytes = [0; 32];
    bytes[0] = 255;
    bytes[31] = 7;
    let zeros = "0 ".repeat(30);
    assert_eq!(Checksum(bytes).to_string(), format!("[255 {zeros}7]"));
}

#[test]
fn the_size_says_whether_there_is_a_checksum() {
    for (bytes, expected) in [
        (0, false),
        (31, false),
        (32, true),
        (4096, false),
        (4128, true),
    ] {
        assert_eq!(has_checksum(bytes), expected, "{bytes}");
        assert_eq!(check_saved(bytes).is_ok(), expected, "{bytes}");
    }
    let error = check_saved(4096).unwrap_err();
    assert_eq!(error.to_string(), "sha256 checksum not found [bytes: 4096]");
}

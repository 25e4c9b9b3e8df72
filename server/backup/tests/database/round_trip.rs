//! What is written is read back, in files of every shape.

use bytes::Bytes;
use proptest::{collection::btree_map, prelude::*};
use tenure_backup::bbolt::Database;

use crate::{
    read_back::read,
    written::{Buckets, write},
};

/// Lengths around the size of a page, and far beyond it.
fn value() -> impl Strategy<Value = Bytes> {
    let length = prop_oneof![
        8 => 0..300_usize,
        2 => 4000..4200_usize,
        1 => Just(0),
        1 => Just(1),
        1 => 4095..=4097_usize,
        1 => 8000..20_000_usize,
    ];
    (length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length].into())
}

fn key() -> impl Strategy<Value = Bytes> {
    let short = proptest::collection::vec(any::<u8>(), 1..40);
    let long = (any::<[u8; 4]>(), 3000..9000_usize).prop_map(|(start, length)| {
        let mut key = start.to_vec();
        key.resize(length, 0);
        key
    });
    prop_oneof![20 => short, 1 => long].prop_map(Bytes::from)
}

fn buckets() -> impl Strategy<Value = Buckets> {
    let name = proptest::collection::vec(any::<u8>(), 1..20).prop_map(Bytes::from);
    btree_map(name, btree_map(key(), value(), 0..300), 0..6)
}

fn holds(buckets: &Buckets) {
    let file = write(buckets);
    assert_eq!(read(&file).unwrap(), *buckets);
    let checked = Database::open(&file).unwrap().check().unwrap();
    assert_eq!(checked.used, checked.pages, "every page is used");
    assert_eq!(checked.buckets, buckets.len() as u64);
    let rows = buckets.values().map(|rows| rows.len() as u64);
    assert_eq!(checked.rows, rows.sum::<u64>());
}

fn one(rows: impl IntoIterator<Item = (Bytes, Bytes)>) -> Buckets {
    Buckets::from([("b".into(), rows.into_iter().collect())])
}

fn zeros(length: usize) -> Bytes {
    vec![0; length].into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_are_read_back(buckets in buckets()) {
        holds(&buckets);
    }
}

#[test]
fn nothing_is_read_back() {
    holds(&Buckets::new());
    holds(&one([]));
    holds(&Buckets::from([
        ("a".into(), [].into()),
        ("b".into(), [("k".into(), "v".into())].into()),
        ("c".into(), [].into()),
    ]));
}

#[test]
fn every_length_around_the_end_of_a_page_is_read_back() {
    for length in [0, 1, 4030, 4095, 4096, 4097, 8191, 8192, 8193] {
        holds(&one([("k".into(), zeros(length))]));
        let three = ["j", "k", "l"].map(|key| (key.into(), zeros(length)));
        holds(&one(three));
    }
    // A leaf that is full to the last byte: header 16, two elements of 16, keys, values.
    for spare in 0..3 {
        let half = (4096 - 16 - 32) / 2 - 1;
        holds(&one([
            ("j".into(), zeros(half)),
            ("k".into(), zeros(half - spare)),
            ("l".into(), zeros(1)),
        ]));
    }
}

#[test]
fn a_megabyte_is_read_back_between_small_rows() {
    let large = ("m".into(), vec![7; 1 << 20].into());
    holds(&one([
        ("a".into(), zeros(9)),
        large,
        ("z".into(), zeros(9)),
    ]));
}

#[test]
fn keys_beyond_a_page_are_read_back() {
    let key = |number: u32, length: usize| {
        let mut key = number.to_be_bytes().to_vec();
        key.resize(length, b'k');
        Bytes::from(key)
    };
    for length in [5000, 32_768] {
        for count in [1, 2, 3, 5, 40] {
            holds(&one(
                (0..count).map(|number| (key(number, length), zeros(1)))
            ));
        }
    }
}

#[test]
fn many_rows_are_read_back() {
    let row = |number: u64| {
        let key = Bytes::copy_from_slice(&number.to_be_bytes());
        (key, zeros(usize::try_from(number % 97).unwrap()))
    };
    holds(&one((0..200_000).map(row)));
}

#[test]
fn many_buckets_are_read_back() {
    let bucket = |number: u32| {
        let name = Bytes::from(format!("bucket-{number:08}"));
        (name, [("k".into(), "v".into())].into())
    };
    holds(&(0..2000).map(bucket).collect());
}

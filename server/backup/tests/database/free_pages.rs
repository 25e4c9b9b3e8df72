//! Files as bbolt itself leaves them: with free pages, a list of them, inline buckets, one meta.

use bytes::{Bytes, BytesMut};
use tenure_backup::bbolt::{Database, PageFault, ReadError};

use crate::{
    read_back::{fnv, read},
    written::{Buckets, write},
};

const PAGE: usize = 4096;

fn put(file: &mut BytesMut, at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Changes fields of both metas, at offsets from the meta's start, and makes them valid again.
fn with_meta(file: &mut BytesMut, page_bytes: usize, fields: &[(usize, u64)]) {
    for start in [16, page_bytes + 16] {
        for (at, number) in fields {
            put(file, start + at, &number.to_le_bytes());
        }
        let sum = fnv(&file[start..start + 56]);
        put(file, start + 56, &sum.to_le_bytes());
    }
}

fn sample() -> (Buckets, Bytes) {
    let buckets = Buckets::from([
        ("a".into(), [("k".into(), "v".into())].into()),
        ("b".into(), [("l".into(), "w".into())].into()),
    ]);
    let file = write(&buckets);
    (buckets, file)
}

/// The sample with two more pages: a list of free pages with these entries, and a free page.
fn with_list(entries: &[u64]) -> (Buckets, Bytes) {
    let (buckets, file) = sample();
    let list = file.len() / PAGE;
    let mut file = BytesMut::from(&file[..]);
    file.resize((list + 2) * PAGE, 0);
    put(&mut file, list * PAGE, &(list as u64).to_le_bytes());
    put(
        &mut file,
        list * PAGE + 8,
        &[0x10, 0, entries.len() as u8, 0],
    );
    for (at, entry) in entries.iter().enumerate() {
        put(&mut file, list * PAGE + 16 + at * 8, &entry.to_le_bytes());
    }
    with_meta(&mut file, PAGE, &[(32, list as u64), (40, list as u64 + 2)]);
    (buckets, file.freeze())
}

fn fault(file: &Bytes) -> (u64, PageFault) {
    match Database::open(file).unwrap().check() {
        Err(ReadError::Damaged(damage)) => (damage.page, damage.fault),
        other => panic!("no damage is found: {other:?}"),
    }
}

#[test]
fn a_list_of_free_pages_is_taken_into_account() {
    let (buckets, plain) = sample();
    let pages = (plain.len() / PAGE) as u64;
    let (list, free) = (pages, pages + 1);
    let (_, file) = with_list(&[free]);
    assert_eq!(read(&file).unwrap(), buckets);
    let checked = Database::open(&file).unwrap().check().unwrap();
    assert_eq!((checked.pages, checked.used), (pages + 2, pages + 1));

    assert_eq!(fault(&with_list(&[]).1), (free, PageFault::Lost));
    assert_eq!(
        fault(&with_list(&[free, free]).1),
        (free, PageFault::FreeTwice)
    );
    assert_eq!(fault(&with_list(&[free, 2]).1), (2, PageFault::ReachedFree));
    assert_eq!(
        fault(&with_list(&[free, list]).1),
        (list, PageFault::ReachedFree)
    );
    assert_eq!(fault(&with_list(&[1]).1), (list, PageFault::Free(1)));
    assert_eq!(
        fault(&with_list(&[u64::MAX]).1),
        (list, PageFault::Free(u64::MAX))
    );
}

#[test]
fn a_count_in_front_of_the_free_pages_is_not_believed() {
    let (_, file) = with_list(&[9]);
    let list = sample().1.len() / PAGE;
    let mut file = BytesMut::from(&file[..]);
    put(&mut file, list * PAGE + 10, &[0xff, 0xff]);
    put(&mut file, list * PAGE + 16, &u64::MAX.to_le_bytes());
    let found = fault(&file.clone().freeze());
    assert_eq!(found, (list as u64, PageFault::Count(u16::MAX)));
    put(&mut file, list * PAGE + 16, &1_u64.to_le_bytes());
    put(
        &mut file,
        list * PAGE + 24,
        &(list as u64 + 1).to_le_bytes(),
    );
    Database::open(file.freeze()).unwrap().check().unwrap();
}

#[test]
fn unused_pages_are_free_when_there_is_no_list() {
    let (buckets, file) = sample();
    let pages = file.len() / PAGE;
    let mut file = BytesMut::from(&file[..]);
    file.resize((pages + 3) * PAGE, 0xee);
    with_meta(&mut file, PAGE, &[(40, pages as u64 + 3)]);
    let file = file.freeze();
    assert_eq!(read(&file).unwrap(), buckets);
    let checked = Database::open(&file).unwrap().check().unwrap();
    assert_eq!(checked.pages - checked.used, 3);
}

#[test]
fn the_newer_valid_meta_wins() {
    let (buckets, file) = sample();
    // The first meta is the newer one; without it, the second serves.
    let mut second = BytesMut::from(&file[..]);
    put(&mut second, 16, &[0; 64]);
    assert_eq!(read(&second.freeze()).unwrap(), buckets);
    let mut first = BytesMut::from(&file[..]);
    put(&mut first, PAGE + 16, &[0; 64]);
    assert_eq!(read(&first.freeze()).unwrap(), buckets);
    let mut neither = BytesMut::from(&file[..]);
    put(&mut neither, 16, &[0; 64]);
    put(&mut neither, PAGE + 16, &[0; 64]);
    let error = read(&neither.freeze()).unwrap_err();
    assert!(matches!(error, ReadError::NotADatabase), "{error}");
}

#[test]
fn impossible_page_sizes_are_refused() {
    for size in [0_u32, 1, 512, 1000, 4097, 1 << 17, u32::MAX] {
        let mut file = BytesMut::from(&sample().1[..]);
        put(&mut file, 24, &size.to_le_bytes());
        with_meta(&mut file, PAGE, &[]);
        // The second meta is where no size of this kind would put it.
        let error = Database::open(file.freeze()).unwrap_err();
        let expected = format!("page 0: {}", PageFault::PageSize(size));
        assert_eq!(error.to_string(), expected);
    }
}

/// Puts the bucket "a" of the sample into the root, as bbolt does with small buckets.
fn inlined(leaf: &[u8]) -> Bytes {
    let (_, file) = sample();
    let root = file.len() / PAGE - 1;
    let mut page = Vec::new();
    let inline = [&[0; 16][..], leaf].concat();
    page.extend_from_slice(&(root as u64).to_le_bytes());
    page.extend_from_slice(&[2, 0, 2, 0, 0, 0, 0, 0]);
    let lengths = [
        (32_u32, inline.len() as u32),
        (17 + inline.len() as u32, 16),
    ];
    for (distance, value) in lengths {
        for number in [1, distance, 1, value] {
            page.extend_from_slice(&number.to_le_bytes());
        }
    }
    page.extend_from_slice(b"a");
    page.extend_from_slice(&inline);
    page.extend_from_slice(b"b");
    page.extend_from_slice(&3_u64.to_le_bytes());
    page.extend_from_slice(&[0; 8]);
    let mut file = BytesMut::from(&file[..]);
    put(&mut file, root * PAGE, &page);
    file.freeze()
}

#[test]
fn inline_buckets_are_read_and_checked() {
    let (buckets, _) = sample();
    let mut leaf = Vec::new();
    leaf.extend_from_slice(&[0; 8]);
    leaf.extend_from_slice(&[2, 0, 1, 0, 0, 0, 0, 0]);
    for number in [0_u32, 16, 1, 1] {
        leaf.extend_from_slice(&number.to_le_bytes());
    }
    leaf.extend_from_slice(b"kv");
    let file = inlined(&leaf);
    assert_eq!(read(&file).unwrap(), buckets);
    let checked = Database::open(&file).unwrap().check().unwrap();
    assert_eq!((checked.buckets, checked.rows), (2, 2));
    for at in 0..leaf.len() - 1 {
        for mask in [0xff, 0x01] {
            let mut bad = leaf.clone();
            bad[at] ^= mask;
            // The key, the count that becomes zero, and the end of the value.
            let beyond_structure = at == 32 || (mask == 1 && (at == 10 || at == 28));
            let result = read(&inlined(&bad));
            assert!(
                result.is_err() || beyond_structure,
                "byte {at} ^ {mask:#x}: {result:?}"
            );
        }
    }
    for length in 0..leaf.len() {
        assert!(read(&inlined(&leaf[..length])).is_err(), "{length} bytes");
    }
}

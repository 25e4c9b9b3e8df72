//! Files that are damaged, cut or made to hurt: each ends in an error, or reads as before.

use std::{collections::BTreeMap, panic, thread};

use bytes::{Bytes, BytesMut};
use tenure_backup::{
    bbolt::{Database, PageFault, ReadError},
    file::SnapshotFile,
};

use crate::{
    read_back::{fnv, read},
    written::{Buckets, sealed, write},
};

const PAGE: usize = 4096;

/// A small file with everything in it: metas, several leaves, a branch, overflow, an empty bucket.
fn sample() -> (Buckets, Bytes) {
    let row = |number: u32| {
        let key = Bytes::from(format!("key-{number:04}"));
        (key, Bytes::from(vec![b'v'; 400]))
    };
    let mut rows: BTreeMap<_, _> = (0..12).map(row).collect();
    rows.insert("key-0010-large".into(), vec![b'L'; 5000].into());
    let buckets = Buckets::from([
        ("a".into(), [].into()),
        ("b".into(), rows),
        ("c".into(), [("k".into(), "v".into())].into()),
    ]);
    let file = write(&buckets);
    (buckets, file)
}

/// Reads and checks a file. Its rows, if nothing seems wrong.
fn examined(file: &Bytes) -> Result<Option<Buckets>, ReadError> {
    let found = read(file)?;
    let checked = Database::open(file)?.check()?;
    // These files have no page that is not used.
    Ok((checked.used == checked.pages).then_some(found))
}

fn refused_whole(file: Bytes) -> bool {
    let snapshot = SnapshotFile::open(file).unwrap();
    snapshot.verify_checksum().is_err()
}

fn flipped(file: &[u8], at: usize, mask: u8) -> Bytes {
    let mut file = BytesMut::from(file);
    file[at] ^= mask;
    file.freeze()
}

#[test]
fn every_flipped_byte_is_found_or_means_nothing_to_the_structure() {
    let (buckets, file) = sample();
    let (mut found, mut silent) = (0, 0);
    for at in 0..file.len() {
        // One mask is enough for bytes that the structure does not depend on.
        let masks: &[u8] = if is_beyond_structure(&file, at, 0x01) {
            &[0x01]
        } else {
            &[0xff, 0x01]
        };
        for &mask in masks {
            match examined(&flipped(&file, at, mask)) {
                Err(_) | Ok(None) => found += 1,
                Ok(Some(rows)) if rows == buckets => {}
                Ok(Some(_)) => {
                    assert!(
                        is_beyond_structure(&file, at, mask),
                        "byte {at} ^ {mask:#x}"
                    );
                    silent += 1;
                }
            }
        }
    }
    assert!(
        found > 1000 && silent > 1000,
        "{found} were found, {silent} were not"
    );
}

#[test]
fn every_flipped_byte_is_found_by_the_checksum() {
    let rows = [("k".into(), "v".into())].into();
    let whole = sealed(&write(&Buckets::from([("b".into(), rows)])));
    assert!(!refused_whole(whole.clone()));
    for at in 0..whole.len() {
        assert!(refused_whole(flipped(&whole, at, 0x01)), "byte {at}");
    }
}

/// Whether a flip changes rows in a way that only the checksum shows: the bytes of a key or value,
/// the end of the last one in a page, or the count of a page that becomes empty.
fn is_beyond_structure(file: &[u8], at: usize, mask: u8) -> bool {
    let start = (0..=at / PAGE)
        .rev()
        .find(|page| !is_overflow(file, *page))
        .map(|page| page * PAGE);
    let start = start.expect("page 0 has a header");
    let count = usize::from(file[start + 10]);
    let rows = start + 16 + count * 16;
    let last_lengths = rows - 8..rows;
    at >= rows || last_lengths.contains(&at) || (at == start + 10 && file[at] == mask)
}

#[test]
fn every_cut_is_found() {
    let (_, file) = sample();
    let whole = sealed(&file);
    for length in 0..file.len() {
        let result = examined(&file.slice(..length));
        assert!(result.is_err(), "{length} bytes");
    }
    // Most of these have no size that a checksum is expected at; the others are hashed.
    for length in 0..whole.len() {
        assert!(refused_whole(whole.slice(..length)), "{length} bytes");
    }
    // What follows the pages belongs to nothing: a member's file has room to grow.
    let longer = Bytes::from([&file[..], &[0; PAGE]].concat());
    assert!(examined(&longer).unwrap().is_some());
}

#[test]
fn every_swap_of_pages_is_found() {
    let (_, file) = sample();
    let pages = file.len() / PAGE;
    for first in 0..pages {
        for second in first + 1..pages {
            let mut swapped = BytesMut::from(&file[..]);
            swapped[first * PAGE..][..PAGE].copy_from_slice(&file[second * PAGE..][..PAGE]);
            swapped[second * PAGE..][..PAGE].copy_from_slice(&file[first * PAGE..][..PAGE]);
            let result = examined(&swapped.freeze());
            assert!(result.is_err(), "pages {first} and {second}");
        }
    }
}

#[test]
fn every_page_in_place_of_another_is_found() {
    let (buckets, file) = sample();
    let pages = file.len() / PAGE;
    for to in 0..pages {
        for from in (0..pages).filter(|from| *from != to) {
            // Also with the number that the place demands.
            for renumbered in [false, true] {
                let mut copied = BytesMut::from(&file[..]);
                copied[to * PAGE..][..PAGE].copy_from_slice(&file[from * PAGE..][..PAGE]);
                if renumbered {
                    copied[to * PAGE..][..8].copy_from_slice(&(to as u64).to_le_bytes());
                }
                match examined(&copied.freeze()) {
                    Err(_) | Ok(None) => {}
                    // Nothing but the checksum tells one whole leaf from another, or a value.
                    Ok(_) if to >= 2 && (renumbered || is_overflow(&file, to)) => {}
                    // One meta in place of the other.
                    Ok(Some(rows)) => assert!(to < 2 && rows == buckets, "{from} at {to}"),
                }
            }
        }
    }
}

/// Whether a page has no header of its own.
fn is_overflow(file: &[u8], page: usize) -> bool {
    file[page * PAGE..][..8] != (page as u64).to_le_bytes()
}

/// Where page `number` begins with its header, and its first element.
fn element(number: usize, at: usize) -> usize {
    number * PAGE + 16 + at * 16
}

fn patched(file: &[u8], at: usize, bytes: &[u8]) -> Bytes {
    let mut file = BytesMut::from(file);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file.freeze()
}

/// A file of one bucket with a branch at `branch` over leaves from page 2 on.
fn two_levels() -> (Bytes, usize) {
    let row = |number: u32| {
        let key = Bytes::copy_from_slice(&number.to_be_bytes());
        (key, Bytes::from(vec![0; 1000]))
    };
    let file = write(&Buckets::from([("b".into(), (0..30).map(row).collect())]));
    let flags = |page: usize| u16::from_le_bytes([file[page * PAGE + 8], file[page * PAGE + 9]]);
    let branch = (0..file.len() / PAGE).find(|page| flags(*page) == 1);
    let branch = branch.expect("there is a branch");
    (file, branch)
}

fn fault(file: &Bytes) -> (u64, PageFault) {
    match examined(file).expect_err("damage is found") {
        ReadError::Damaged(damage) => (damage.page, damage.fault),
        other => panic!("not a damaged page: {other}"),
    }
}

#[test]
fn cycles_and_repeated_pages_end() {
    let (file, branch) = two_levels();
    let child = |at: usize, page: u64| patched(&file, element(branch, at) + 8, &page.to_le_bytes());
    let to = branch as u64;
    assert_eq!(fault(&child(0, to)), (to, PageFault::ReachedTwice));
    // The second leaf again, in place of the third.
    assert_eq!(fault(&child(2, 3)), (3, PageFault::Range));
    // The second leaf in place of the first, whose keys must be less.
    assert_eq!(fault(&child(0, 3)), (3, PageFault::Range));
    // A root bucket whose root is the root itself.
    let root = file.len() / PAGE - 1;
    let value = element(root, 0) + 16 + 1;
    let itself = patched(&file, value, &(root as u64).to_le_bytes());
    assert!(examined(&itself).is_err());
    assert_eq!(fault(&child(0, 1)).0, 1);
    assert!(matches!(
        fault(&child(0, 1 << 60)),
        (_, PageFault::OutOfBounds(_))
    ));
}

#[test]
fn lengths_beyond_the_page_are_found() {
    let (file, branch) = two_levels();
    let huge = u32::MAX.to_le_bytes();
    for field in [4, 8, 12] {
        let (page, found) = fault(&patched(&file, element(2, 1) + field, &huge));
        assert_eq!((page, found), (2, PageFault::Element(1)), "field {field}");
    }
    for field in [0, 4] {
        let found = fault(&patched(&file, element(branch, 1) + field, &huge));
        assert_eq!(
            found,
            (branch as u64, PageFault::Element(1)),
            "field {field}"
        );
    }
    let count = patched(&file, 2 * PAGE + 10, &u16::MAX.to_le_bytes());
    assert_eq!(fault(&count), (2, PageFault::Count(u16::MAX)));
    let overflow = patched(&file, 2 * PAGE + 12, &huge);
    assert_eq!(fault(&overflow), (2, PageFault::Overflow(u32::MAX)));
    // The value of one element in place of another's.
    let shared = patched(&file, element(2, 1) + 4, &(1000_u32).to_le_bytes());
    assert_eq!(fault(&shared), (2, PageFault::Element(1)));
}

#[test]
fn an_empty_page_below_a_branch_is_found() {
    let (file, branch) = two_levels();
    let leaf = patched(&file, 3 * PAGE + 10, &[0, 0]);
    assert_eq!(fault(&leaf), (3, PageFault::Empty));
    let empty = patched(&file, branch * PAGE + 10, &[0, 0]);
    assert_eq!(fault(&empty), (branch as u64, PageFault::Empty));
}

#[test]
fn noise_is_no_database() {
    for length in [0, 1, 79, 80, 4096, 100_000] {
        let noise: Vec<u8> = (0..length)
            .map(|at: u32| (at.wrapping_mul(97) >> 3) as u8)
            .collect();
        let error = Database::open(Bytes::from(noise)).unwrap_err();
        assert_eq!(error.to_string(), "invalid database");
    }
}

#[test]
fn a_deep_chain_ends_on_a_small_stack() {
    // Every branch has one child, the next page: deeper than any real tree.
    const PAGES: u64 = 3000;
    let field = |numbers: [u32; 2]| numbers.map(u32::to_le_bytes).concat();
    let mut file = BytesMut::new();
    for (number, transaction) in [(0_u64, 2_u64), (1, 1)] {
        let mut meta = [field([0xED0C_DAED, 2]), field([4096, 0])].concat();
        for part in [PAGES - 1, 0, u64::MAX, PAGES, transaction] {
            meta.extend_from_slice(&part.to_le_bytes());
        }
        meta.extend_from_slice(&fnv(&meta).to_le_bytes());
        file.extend_from_slice(&number.to_le_bytes());
        file.extend_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0]);
        file.extend_from_slice(&meta);
        file.resize((usize::try_from(number).unwrap() + 1) * PAGE, 0);
    }
    for page in 2..PAGES - 1 {
        let element = [
            field([16, 1]),
            (page + 1).to_le_bytes().to_vec(),
            b"k".to_vec(),
        ]
        .concat();
        file.extend_from_slice(&page.to_le_bytes());
        file.extend_from_slice(&[1, 0, 1, 0, 0, 0, 0, 0]);
        file.extend_from_slice(&element);
        file.resize((usize::try_from(page).unwrap() + 1) * PAGE, 0);
    }
    let bucket = [2_u64.to_le_bytes(), [0; 8]].concat();
    let root = [field([1, 16]), field([1, 16]), b"b".to_vec(), bucket].concat();
    file.extend_from_slice(&(PAGES - 1).to_le_bytes());
    file.extend_from_slice(&[2, 0, 1, 0, 0, 0, 0, 0]);
    file.extend_from_slice(&root);
    file.resize(usize::try_from(PAGES).unwrap() * PAGE, 0);
    let deep = file.freeze();
    let small = thread::Builder::new().stack_size(64 * 1024);
    let found = small.spawn(move || fault(&deep)).unwrap().join();
    let (_, found) = found.unwrap_or_else(|panicked| panic::resume_unwind(panicked));
    assert_eq!(found, PageFault::Depth);
}

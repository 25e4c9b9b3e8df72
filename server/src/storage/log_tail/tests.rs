//! The tail under appends, truncations and purges, in every order in which the disk may report
//! them.

use super::*;
use crate::consensus::{Batch, LeaderId, Payload};

fn id_of(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 1 }, index)
}

fn id(index: u64) -> LogId {
    id_of(1, index)
}

fn entry_of(term: u64, index: u64, bytes: usize) -> Entry {
    Entry {
        log_id: id_of(term, index),
        payload: Payload::Normal(Batch(vec![0; bytes].into())),
    }
}

fn fill(tail: &mut LogTail, term: u64, range: Range<u64>, bytes: usize) -> Watermark {
    for index in range {
        tail.push(entry_of(term, index, bytes)).unwrap();
    }
    tail.watermark()
}

fn tail(range: Range<u64>, bytes: usize) -> LogTail {
    let mut tail = LogTail::default();
    fill(&mut tail, 1, range, bytes);
    tail
}

fn read(tail: &LogTail, range: Range<u64>, bytes_max: usize) -> Vec<u64> {
    let mut found = Vec::new();
    tail.read(&range, bytes_max, &mut found);
    found.iter().map(|entry| entry.log_id.index).collect()
}

#[test]
fn a_read_is_cut_at_its_end_and_at_its_budget_but_brings_at_least_one() {
    let tail = tail(1..6, 100);
    assert_eq!(read(&tail, 2..4, usize::MAX), [2, 3]);
    assert_eq!(read(&tail, 2..6, 250), [2, 3]);
    assert_eq!(read(&tail, 2..6, 1), [2]);
}

#[test]
fn what_is_not_on_disk_stays_whatever_the_budget() {
    let half = CACHED_BYTES_MAX / 2;
    let mut tail = LogTail::default();
    let two = fill(&mut tail, 1, 0..2, half);
    let all = fill(&mut tail, 1, 2..5, half);
    assert_eq!(tail.first_index(), Some(0));
    tail.durable(two);
    assert_eq!(
        tail.first_index(),
        Some(2),
        "entries 2 to 4 are still to be written"
    );
    tail.durable(all);
    assert!(tail.bytes <= CACHED_BYTES_MAX);
}

/// Entries of a deposed leader are truncated while in flight to the disk, and their indexes are
/// reused. That the old entries are written says nothing about the new ones.
#[test]
fn entries_that_took_the_place_of_truncated_ones_stay_until_they_are_on_disk_themselves() {
    let large = CACHED_BYTES_MAX;
    let mut tail = LogTail::new(None, Some(id(12)), None);
    let old = fill(&mut tail, 1, 13..21, 1);
    tail.truncate(Some(id(12))).unwrap();
    tail.durable(old);
    let first = fill(&mut tail, 2, 13..14, large);
    let second = fill(&mut tail, 2, 14..17, large);
    tail.durable(first);
    assert_eq!(
        read(&tail, 14..17, usize::MAX),
        [14, 15, 16],
        "they are on no disk"
    );
    tail.durable(second);
    assert!(tail.bytes <= CACHED_BYTES_MAX, "they are on disk");
}

#[test]
fn a_report_of_before_two_truncations_counts_up_to_the_lower_one() {
    let mut tail = LogTail::default();
    let old = fill(&mut tail, 1, 0..20, 1);
    tail.truncate(Some(id(5))).unwrap();
    fill(&mut tail, 2, 6..30, 1);
    tail.truncate(Some(id_of(2, 10))).unwrap();
    let newest = fill(&mut tail, 3, 11..12, 1);
    tail.durable(old);
    assert_eq!(tail.durable_before, 6);
    tail.durable(newest);
    assert_eq!((tail.durable_before, tail.truncations.len()), (12, 0));
}

#[test]
fn a_truncation_beyond_the_end_changes_nothing() {
    let mut tail = tail(0..3, 1);
    tail.truncate(Some(id(7))).unwrap();
    assert_eq!(tail.last, Some(id(2)));
    tail.truncate(None).unwrap();
    assert_eq!((tail.last, tail.first_index(), tail.bytes), (None, None, 0));
}

#[test]
fn what_is_committed_is_never_truncated() {
    let mut tail = tail(0..5, 1);
    tail.commit(Some(id(3))).unwrap();
    for keep in [None, Some(id(0)), Some(id(2))] {
        let refused = tail.truncate(keep).unwrap_err();
        let committed = id(3);
        assert_eq!(
            refused,
            Contradiction::TruncatesCommitted { keep, committed }
        );
    }
    assert_eq!(
        read(&tail, 0..9, usize::MAX),
        [0, 1, 2, 3, 4],
        "nothing was taken away"
    );
    tail.truncate(Some(id(3))).unwrap();
    assert_eq!(tail.last, Some(id(3)));
}

#[test]
fn an_entry_that_does_not_follow_the_last_is_refused() {
    let mut tail = tail(0..3, 1);
    for next in [id(4), id(2), id_of(0, 3)] {
        let last = id(2);
        let refused = tail.push(entry_of(next.leader_id.term, next.index, 1));
        assert_eq!(refused, Err(Contradiction::Gap { last, next }));
    }
    tail.push(entry_of(2, 3, 1)).unwrap();
}

#[test]
fn nothing_is_committed_that_the_log_does_not_hold_and_commits_do_not_go_back() {
    let mut tail = tail(0..3, 1);
    let committed = id(3);
    let last = Some(id(2));
    assert_eq!(
        tail.commit(Some(committed)),
        Err(Contradiction::CommittedBeyondEnd { committed, last })
    );
    tail.commit(Some(id(2))).unwrap();
    tail.commit(Some(id(1))).unwrap();
    assert_eq!(tail.committed(), Some(id(2)));
}

#[test]
fn a_tail_takes_as_committed_what_its_log_holds() {
    let committed = |purged, last, said| LogTail::new(purged, last, said).committed();
    assert_eq!(committed(None, Some(id(4)), Some(id(9))), Some(id(4)));
    assert_eq!(committed(None, Some(id(4)), Some(id(2))), Some(id(2)));
    assert_eq!(committed(None, None, Some(id(9))), None);
}

#[test]
fn a_purge_beyond_the_end_moves_the_end_and_cannot_be_undone() {
    let mut tail = tail(0..3, 1);
    tail.purge(id(1));
    assert_eq!(
        (tail.first_index(), tail.last, tail.purged),
        (Some(2), Some(id(2)), Some(id(1)))
    );
    tail.purge(id(9));
    assert_eq!(
        (tail.first_index(), tail.last, tail.purged),
        (None, Some(id(9)), Some(id(9)))
    );
    let (keep, committed) = (Some(id(8)), id(9));
    let refused = tail.truncate(keep).unwrap_err();
    assert_eq!(
        refused,
        Contradiction::TruncatesCommitted { keep, committed }
    );
    tail.push(entry_of(1, 10, 1)).unwrap();
}

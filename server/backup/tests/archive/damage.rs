//! Segments that are cut, damaged, or not what they should be.

use bytes::{Bytes, BytesMut};
use tenure_backup::{
    Revision,
    archive::{SEGMENT_HEADER_BYTES, Segment, SegmentError, SegmentFault, encode},
};

use crate::history::History;

/// Reads everything: the revisions, and the error that ended it.
fn read(bytes: &Bytes) -> (Vec<i64>, Option<SegmentError>) {
    let segment = match Segment::open(bytes.clone(), "changes-7") {
        Ok(segment) => segment,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut frames = segment.frames();
    let mut found = Vec::new();
    loop {
        match frames.next() {
            Ok(Some(revision)) => found.push(revision.revision),
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(error)),
        }
    }
}

/// Where each frame begins, and where the last one ends.
fn places(history: &History) -> Vec<usize> {
    let mut place = SEGMENT_HEADER_BYTES;
    let mut places = vec![place];
    for one in &history.revisions {
        place += encode(one).unwrap().len();
        places.push(place);
    }
    places
}

#[test]
fn revisions_are_read_in_order_and_so_is_what_is_appended_later() {
    let history = History::sample();
    let (found, error) = read(&history.segment(1, history.last()));
    assert!(error.is_none(), "{error:?}");
    assert_eq!(found, (2..=history.last()).collect::<Vec<_>>());

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), history.segment(1, 4)).unwrap();
    let segment = Segment::open(std::fs::File::open(file.path()).unwrap(), "s").unwrap();
    let mut frames = segment.frames();
    while frames.next().unwrap().is_some() {}
    assert_eq!(frames.last(), Revision(4));
    std::fs::write(file.path(), history.segment(1, 5)).unwrap();
    assert_eq!(frames.next().unwrap().unwrap().revision, 5);
    assert!(frames.next().unwrap().is_none());
}

#[test]
fn a_file_that_is_cut_anywhere_keeps_the_frames_before_and_names_the_place() {
    let history = History::sample();
    let whole = history.segment(1, history.last());
    let places = places(&history);
    for length in 0..whole.len() {
        let (found, error) = read(&whole.slice(..length));
        if places.contains(&length) {
            assert!(error.is_none(), "{length}: {error:?}");
            continue;
        }
        let error = error.unwrap();
        let begun = places.iter().rposition(|place| *place < length);
        let place = begun.map_or(0, |frame| places[frame]);
        assert_eq!(error.offset, place as u64, "{length}: {error}");
        assert!(error.fault.is_torn_end(), "{length}: {error}");
        assert_eq!(found.len(), begun.unwrap_or(0), "{length}");
        let text = error.to_string();
        let expected = format!("changes-7: at byte {place}: the file is cut");
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[test]
fn every_flipped_bit_is_found_at_its_frame_and_only_the_last_one_can_be_a_torn_end() {
    let history = History::sample();
    let whole = history.segment(1, history.last());
    let places = places(&history);
    let last = places[places.len() - 2];
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = BytesMut::from(&whole[..]);
            bytes[at] ^= 1 << bit;
            let (found, error) = read(&bytes.freeze());
            let error = error.unwrap_or_else(|| panic!("bit {bit} of byte {at} was not found"));
            let frame = places.iter().rposition(|place| *place <= at);
            let place = frame.map_or(0, |frame| places[frame]);
            assert_eq!(error.offset, place as u64, "{at}: {error}");
            assert_eq!(found.len(), frame.unwrap_or(0), "{at}: {error}");
            let may_be_torn = place == last && at >= last + 12;
            assert_eq!(error.fault.is_torn_end(), may_be_torn, "{at}: {error}");
        }
    }
}

#[test]
fn zeros_behind_the_last_frame_are_a_torn_end_and_anything_else_there_is_damage() {
    let history = History::sample();
    let whole = history.segment(1, history.last());
    let zeros = [&whole[..], &[0; 70_000]].concat();
    let (found, error) = read(&zeros.into());
    assert_eq!(found.len(), history.revisions.len());
    assert!(error.unwrap().fault.is_torn_end());

    let mut more = [&whole[..], &[0; 70_000]].concat();
    *more.last_mut().unwrap() = 1;
    let (_, error) = read(&more.into());
    let error = error.unwrap();
    assert!(matches!(error.fault, SegmentFault::Head { .. }), "{error}");
    assert!(!error.fault.is_torn_end());
}

#[test]
fn a_revision_that_is_missing_is_named() {
    let history = History::sample();
    let mut gap = history.clone();
    gap.revisions.remove(3);
    let (found, error) = read(&gap.segment(1, gap.last() + 1));
    assert_eq!(found, [2, 3, 4]);
    let error = error.unwrap();
    assert_eq!(error.fault.to_string(), "revision 6 follows 4");
}

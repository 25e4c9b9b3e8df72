//! Splits the events of a watcher into responses that clients can receive.
//!
//! Invariant: the parts together hold all events, in order.

use prost::Message;
use tenure_proto::{etcdserverpb::WatchResponse, mvccpb};

/// Encoded size of a field beside its content: its tag and its length.
const FIELD_OVERHEAD_BYTES: usize = 11;
/// Encoded size of a header that is filled in later.
const HEADER_BYTES: usize = 48;
/// Most encoded bytes of an event beside the keys and values of its two records.
const EVENT_WIRE_BYTES: usize = 144;
/// So the size of an event in memory bounds its encoded size.
const _: () = assert!(size_of::<mvccpb::Event>() >= EVENT_WIRE_BYTES);

/// Whether events certainly fit in one part. Cheaper than computing the encoded size of each.
pub(super) fn is_one(events: &[mvccpb::Event], bytes_max: usize) -> bool {
    let bytes: usize = events.iter().map(event_bytes).sum();
    bytes.saturating_add(HEADER_BYTES) < bytes_max
}

/// The unit that is never split: the events of a revision, or one event for clients that join
/// fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Revision,
    Event,
}

/// The parts of a response whose other fields are those of `empty`. No part reaches `bytes_max`
/// unless a single `unit` does; a part is marked as a fragment when the next one continues its
/// revision.
pub(super) fn split(
    empty: WatchResponse,
    events: Vec<mvccpb::Event>,
    bytes_max: usize,
    unit: Unit,
) -> Vec<WatchResponse> {
    let empty_len = empty.encoded_len() + HEADER_BYTES;
    let mut parts = Vec::new();
    let mut part = empty.clone();
    let mut part_len = empty_len;
    let mut events = events.into_iter().peekable();
    while let Some(first) = events.next() {
        let revision = revision_of(&first);
        let mut taken = vec![first];
        while unit == Unit::Revision
            && let Some(next) = events.next_if(|next| revision_of(next) == revision)
        {
            taken.push(next);
        }
        let taken_len: usize = taken
            .iter()
            .map(|event| event.encoded_len() + FIELD_OVERHEAD_BYTES)
            .sum();
        if !part.events.is_empty() && part_len + taken_len >= bytes_max {
            part.fragment = part.events.last().map(revision_of) == Some(revision);
            parts.push(std::mem::replace(&mut part, empty.clone()));
            part_len = empty_len;
        }
        part_len += taken_len;
        part.events.append(&mut taken);
    }
    parts.push(part);
    parts
}

fn revision_of(event: &mvccpb::Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// Size of a response in memory, keys and values included.
pub(super) fn response_bytes(response: &WatchResponse) -> usize {
    size_of::<WatchResponse>() + response.events.iter().map(event_bytes).sum::<usize>()
}

/// Size of an event in memory, keys and values included.
pub(super) fn event_bytes(event: &mvccpb::Event) -> usize {
    let record = |kv: &mvccpb::KeyValue| kv.key.len() + kv.value.len();
    let (kv, previous) = (event.kv.as_ref(), event.prev_kv.as_ref());
    size_of::<mvccpb::Event>() + kv.map_or(0, record) + previous.map_or(0, record)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tenure_proto::mvccpb;

    use super::*;

    fn events(sizes: &[(i64, usize)]) -> Vec<mvccpb::Event> {
        let events = sizes
            .iter()
            .enumerate()
            .map(|(number, &(mod_revision, size))| mvccpb::Event {
                kv: Some(mvccpb::KeyValue {
                    mod_revision,
                    key: format!("{number}").into(),
                    value: Bytes::from(vec![b'x'; size]),
                    ..mvccpb::KeyValue::default()
                }),
                ..mvccpb::Event::default()
            });
        events.collect()
    }

    fn split(unit: Unit, sizes: &[(i64, usize)]) -> Vec<WatchResponse> {
        let empty = WatchResponse {
            watch_id: 7,
            ..WatchResponse::default()
        };
        let parts = super::split(empty, events(sizes), 1000, unit);
        assert!(parts.iter().all(|part| part.watch_id == 7));
        let joined: Vec<_> = parts.iter().flat_map(|part| part.events.clone()).collect();
        assert_eq!(joined, events(sizes));
        parts
    }

    fn fragments(parts: &[WatchResponse]) -> Vec<bool> {
        parts.iter().map(|part| part.fragment).collect()
    }

    #[test]
    fn what_is_taken_for_one_part_is_never_split() {
        for size in 0..1000 {
            for count in [1, 2, 5] {
                let sizes = vec![(i64::MAX, size / count); count];
                let whole = events(&sizes);
                if is_one(&whole, 1000) {
                    assert_eq!(split(Unit::Event, &sizes).len(), 1, "{count} of {size}");
                }
            }
        }
        let largest = mvccpb::KeyValue {
            create_revision: i64::MIN,
            mod_revision: i64::MIN,
            version: i64::MIN,
            lease: i64::MIN,
            ..mvccpb::KeyValue::default()
        };
        let event = mvccpb::Event {
            r#type: 1,
            kv: Some(largest.clone()),
            prev_kv: Some(largest),
        };
        assert!(event.encoded_len() + FIELD_OVERHEAD_BYTES <= EVENT_WIRE_BYTES);
    }

    #[test]
    fn what_is_small_stays_together() {
        for unit in [Unit::Revision, Unit::Event] {
            assert_eq!(split(unit, &[(2, 10), (3, 10), (3, 10)]).len(), 1);
        }
    }

    #[test]
    fn a_revision_in_parts_says_in_each_but_the_last_that_more_follows() {
        let parts = split(
            Unit::Event,
            &[(2, 400), (2, 400), (2, 400), (2, 2000), (2, 10)],
        );
        assert_eq!(fragments(&parts), [true, true, true, false]);
        assert!(
            parts
                .iter()
                .all(|part| part.events.len() < 2 || part.encoded_len() < 1000)
        );
    }

    #[test]
    fn revisions_are_joined_below_the_bound_and_only_one_revision_exceeds_it() {
        let sizes = [
            (2, 300),
            (3, 300),
            (4, 300),
            (5, 300),
            (6, 600),
            (6, 600),
            (6, 600),
            (7, 10),
        ];
        let parts = split(Unit::Revision, &sizes);
        let counts: Vec<_> = parts.iter().map(|part| part.events.len()).collect();
        assert_eq!(counts, [2, 2, 3, 1]);
        assert_eq!(fragments(&parts), [false; 4]);
        // With fragments, a part may also end between revisions; it is no fragment then.
        let parts = split(Unit::Event, &sizes);
        assert_eq!(
            fragments(&parts),
            [false, false, true, true, false],
            "{:?}",
            parts
                .iter()
                .map(|part| part.events.len())
                .collect::<Vec<_>>()
        );
    }
}

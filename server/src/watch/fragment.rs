//! Splits a watch response for clients that take one revision's events in parts.

use prost::Message;
use tenure_proto::etcdserverpb::WatchResponse;

/// What a field costs on the wire beside its content: its tag and its length.
const FIELD_OVERHEAD_BYTES: usize = 11;

/// The parts of `response`, in order; each but the last says that more follows. No part is larger
/// than `bytes_max` unless a single event is.
pub(super) fn split(mut response: WatchResponse, bytes_max: usize) -> Vec<WatchResponse> {
    if response.events.len() < 2 || response.encoded_len() < bytes_max {
        return vec![response];
    }
    let events = std::mem::take(&mut response.events);
    let empty_len = response.encoded_len();
    let mut parts = Vec::new();
    let mut part = WatchResponse {
        fragment: true,
        ..response.clone()
    };
    let mut part_len = empty_len;
    for event in events {
        let event_len = event.encoded_len() + FIELD_OVERHEAD_BYTES;
        if !part.events.is_empty() && part_len + event_len >= bytes_max {
            let next = WatchResponse {
                fragment: true,
                ..response.clone()
            };
            parts.push(std::mem::replace(&mut part, next));
            part_len = empty_len;
        }
        part_len += event_len;
        part.events.push(event);
    }
    part.fragment = false;
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tenure_proto::mvccpb;

    use super::*;

    fn response(sizes: &[usize]) -> WatchResponse {
        let events = sizes
            .iter()
            .enumerate()
            .map(|(number, &size)| mvccpb::Event {
                kv: Some(mvccpb::KeyValue {
                    key: format!("{number}").into(),
                    value: Bytes::from(vec![b'x'; size]),
                    ..mvccpb::KeyValue::default()
                }),
                ..mvccpb::Event::default()
            });
        WatchResponse {
            watch_id: 7,
            events: events.collect(),
            ..WatchResponse::default()
        }
    }

    #[test]
    fn a_small_response_stays_whole() {
        let parts = split(response(&[10, 10]), 1000);
        assert_eq!(parts, [response(&[10, 10])]);
    }

    #[test]
    fn every_part_but_the_last_says_that_more_follows() {
        let whole = response(&[400, 400, 400, 2000, 10]);
        let parts = split(whole.clone(), 1000);
        let fragments: Vec<bool> = parts.iter().map(|part| part.fragment).collect();
        assert_eq!(fragments, [true, true, true, false]);
        assert!(parts.iter().all(|part| part.watch_id == 7));
        assert!(
            parts
                .iter()
                .all(|part| part.events.len() < 2 || part.encoded_len() < 1000)
        );
        let joined: Vec<_> = parts.into_iter().flat_map(|part| part.events).collect();
        assert_eq!(joined, whole.events);
    }
}

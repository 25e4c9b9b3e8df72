//! A range in chunks that are all of one revision, sized toward the request limit.
//!
//! The keys are listed once and then read in pieces between two of them, so the cost is linear in
//! the range although each answer also counts its piece. Invariant: merged, the chunks are the
//! answer that the unary call gives.

use bytes::Bytes;
use prost::Message;
use tenure_proto::etcdserverpb::{RangeResponse, RangeStreamResponse};
use tenure_statemachine::{KeyRange, RangeEnd, RangeQuery, ReadError, Reader};

use super::reply::{self, Headers};

/// Keys of the first chunk; later ones grow toward the size they should have. etcd's measure.
const FIRST_CHUNK_KEYS: usize = 10;

/// Hands the chunks of `query` to `send` until it says that nobody takes them.
pub(super) fn send(
    reader: &Reader<'_>,
    mut query: RangeQuery,
    headers: &Headers,
    target_bytes: usize,
    send: impl Fn(RangeStreamResponse) -> bool,
) -> Result<(), ReadError> {
    let revision = reader.meta().revision;
    let listed = reader.range(&RangeQuery {
        keys_only: true,
        ..query.clone()
    })?;
    let keys: Vec<Bytes> = listed.kvs.into_iter().map(|kv| kv.key).collect();
    query.limit = 0;
    let mut chunk_keys = FIRST_CHUNK_KEYS;
    let mut from: usize = 0;
    loop {
        let to = from.saturating_add(chunk_keys).min(keys.len());
        let mut chunk = RangeResponse::default();
        if let Some(range) = between(&keys, from, to) {
            let read = reader.range(&RangeQuery {
                range,
                ..query.clone()
            })?;
            chunk.kvs = read.kvs.into_iter().map(reply::key_value).collect();
        }
        let last = to == keys.len();
        if last {
            chunk.header = Some(headers.at(revision));
            chunk.more = listed.more;
            chunk.count = listed.count;
        }
        let chunk_bytes = chunk.encoded_len();
        let taken = send(RangeStreamResponse {
            range_response: Some(chunk),
        });
        if last || !taken {
            return Ok(());
        }
        from = to;
        chunk_keys = next_size(chunk_keys, chunk_bytes, target_bytes);
    }
}

/// The range from key number `from` up to, not including, key number `to`.
fn between(keys: &[Bytes], from: usize, to: usize) -> Option<KeyRange> {
    let last = keys.get(from..to)?.last()?;
    let end = [last.as_ref(), &[0]].concat();
    Some(KeyRange {
        start: keys.get(from)?.clone(),
        end: RangeEnd::Before(end.into()),
    })
}

/// Doubles or halves only well off the target, so that sizes near it do not swing.
const fn next_size(keys: usize, bytes: usize, target_bytes: usize) -> usize {
    if bytes < target_bytes / 2 {
        keys.saturating_mul(2)
    } else if bytes > target_bytes.saturating_mul(2) && keys > 1 {
        keys / 2
    } else {
        keys
    }
}

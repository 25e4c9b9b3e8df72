//! Bounds the memory of watchers' key ranges, per stream and per node.
//!
//! etcd bounds neither. A key may be as long as a request, and a watcher keeps its own until it is
//! cancelled. Ranges of ordinary size and long ranges have separate bounds, so that a few long keys
//! cannot keep other clients from watching.
//!
//! Invariant: every range that was added and not removed is counted once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tenure_statemachine::{KeyRange, RangeEnd};

/// Bytes above which a range counts as long: far above keys in practice.
const LONG_RANGE_BYTES: usize = 64 * 1024;
/// Bytes of the ranges of one stream: the largest number of watchers, with 671 bytes each.
const STREAM_RANGES_BYTES_MAX: usize = 64 << 20;
/// Bytes of the ordinary ranges on one node: two million watchers of 128 bytes, and an eighth of
/// the memory of a small node.
const RANGES_BYTES_MAX: usize = 256 << 20;
/// Bytes of the long ranges on one node: a few dozen of the longest that a request may have.
const LONG_RANGES_BYTES_MAX: usize = 64 << 20;

/// Bytes of the ranges on one node.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    bytes: AtomicUsize,
    long_bytes: AtomicUsize,
}

/// Bytes of the ranges of one stream; released when dropped.
#[derive(Debug)]
pub(crate) struct StreamRanges {
    node: Arc<Ranges>,
    bytes: usize,
    long_bytes: usize,
}

/// The bound that a range would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The bound of the stream.
    Stream,
    /// The node's bound on ordinary ranges.
    Node,
    /// The node's bound on long ranges.
    NodeLong,
}

impl Refused {
    /// The error text for the client.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Stream => {
                "tenure: the keys of this stream's watchers would take more than 64 MiB: cancel \
                 some of them, or open another stream"
            }
            Self::Node => {
                "tenure: the keys of all watchers of this node would take more than 256 MiB: \
                 cancel some of them, or watch on another node"
            }
            Self::NodeLong => {
                "tenure: the keys beyond 64 KiB of all watchers of this node would take more than \
                 64 MiB: watch shorter keys, or cancel some of these watchers"
            }
        }
    }
}

impl Ranges {
    /// Creates the account of a stream without watchers.
    pub(crate) fn of_stream(self: &Arc<Self>) -> StreamRanges {
        StreamRanges {
            node: Arc::clone(self),
            bytes: 0,
            long_bytes: 0,
        }
    }
}

impl StreamRanges {
    /// Counts the range of one more watcher.
    ///
    /// # Errors
    /// When it would exceed a bound; it is not counted then.
    pub(crate) fn add(&mut self, range: &KeyRange) -> Result<(), Refused> {
        let bytes = bytes_of(range);
        let of_stream = self.bytes.saturating_add(self.long_bytes);
        if of_stream.saturating_add(bytes) > STREAM_RANGES_BYTES_MAX {
            return Err(Refused::Stream);
        }
        if bytes > LONG_RANGE_BYTES {
            add(&self.node.long_bytes, bytes, LONG_RANGES_BYTES_MAX).ok_or(Refused::NodeLong)?;
            self.long_bytes += bytes;
        } else {
            add(&self.node.bytes, bytes, RANGES_BYTES_MAX).ok_or(Refused::Node)?;
            self.bytes += bytes;
        }
        Ok(())
    }

    /// Undoes one [`StreamRanges::add`] of this range.
    pub(crate) fn remove(&mut self, range: &KeyRange) {
        let bytes = bytes_of(range);
        let (of_stream, of_node) = if bytes > LONG_RANGE_BYTES {
            (&mut self.long_bytes, &self.node.long_bytes)
        } else {
            (&mut self.bytes, &self.node.bytes)
        };
        *of_stream -= bytes;
        of_node.fetch_sub(bytes, Ordering::AcqRel);
    }
}

impl Drop for StreamRanges {
    fn drop(&mut self) {
        self.node.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        let long = &self.node.long_bytes;
        long.fetch_sub(self.long_bytes, Ordering::AcqRel);
    }
}

fn add(count: &AtomicUsize, bytes: usize, max: usize) -> Option<()> {
    let more = |now: usize| now.checked_add(bytes).filter(|now| *now <= max);
    let added = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    added.ok().map(drop)
}

fn bytes_of(range: &KeyRange) -> usize {
    let end = match &range.end {
        RangeEnd::Before(end) => end.len(),
        RangeEnd::Single | RangeEnd::Unbounded => 0,
    };
    range.start.len().saturating_add(end)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn range(bytes: usize) -> KeyRange {
        KeyRange::single(Bytes::from(vec![b'k'; bytes]))
    }

    #[test]
    fn long_ranges_and_others_have_bounds_of_their_own_and_give_back_what_they_took() {
        let node = Arc::<Ranges>::default();
        let long = range(2_000_000);
        let mut streams: Vec<StreamRanges> = (0..3).map(|_| node.of_stream()).collect();
        let mut added = 0;
        while streams[added % 3].add(&long).is_ok() {
            added += 1;
        }
        assert_eq!(added, LONG_RANGES_BYTES_MAX / 2_000_000);
        assert_eq!(streams[added % 3].add(&long), Err(Refused::NodeLong));
        assert_eq!(streams[0].add(&range(LONG_RANGE_BYTES)), Ok(()));
        streams[0].remove(&long);
        assert_eq!(streams[1].add(&long), Ok(()));
        drop(streams);
        assert_eq!(node.bytes.load(Ordering::Acquire), 0);
        assert_eq!(node.long_bytes.load(Ordering::Acquire), 0);
    }

    #[test]
    fn ordinary_ranges_are_bounded_by_stream_and_by_node() {
        let node = Arc::<Ranges>::default();
        let ordinary = range(LONG_RANGE_BYTES);
        let mut streams: Vec<StreamRanges> = (0..5).map(|_| node.of_stream()).collect();
        for stream in streams.iter_mut().take(4) {
            for _ in 0..STREAM_RANGES_BYTES_MAX / LONG_RANGE_BYTES {
                assert_eq!(stream.add(&ordinary), Ok(()));
            }
            assert_eq!(stream.add(&range(1)), Err(Refused::Stream));
        }
        assert_eq!(streams[4].add(&range(1)), Err(Refused::Node));
        streams.truncate(3);
        assert_eq!(streams[0].add(&range(1)), Err(Refused::Stream));
        assert_eq!(node.of_stream().add(&ordinary), Ok(()));
    }
}

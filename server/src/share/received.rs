//! The account of requests that have not arrived completely.
//!
//! Invariant: the counted bytes exceed [`UNFINISHED_BYTES_MAX`] by one frame at most.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::Share;

/// Time for a request, or a message of a stream, to arrive completely after its first pause. The
/// largest allowed arrives within it at half a megabit a second.
pub(crate) const UNFINISHED_MAX: Duration = Duration::from_secs(30);
/// Bytes that unfinished requests may hold: about a hundred and seventy of the largest.
pub(crate) const UNFINISHED_BYTES_MAX: usize = 256 << 20;
/// Divisor of what is free of these: a connection may hold one part. Those of one address may hold
/// together as much as they leave.
const UNFINISHED_PARTS: usize = 4;
/// Bytes of a request that are not counted, because its call is charged for them: a small request
/// is not refused for what others do not finish.
pub(crate) const COVERED_BYTES: usize = 16 << 10;

/// The bytes of all unfinished requests of a node. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receiving(Arc<AtomicUsize>);

impl Receiving {
    /// A request of a connection, of which nothing has come.
    pub(crate) fn begin(&self, share: Option<Share>) -> Received {
        Received {
            of_node: self.clone(),
            share,
            counted: 0,
        }
    }

    /// Bytes that are counted.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What has come of one request; no longer counted once it is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    of_node: Receiving,
    share: Option<Share>,
    counted: usize,
}

impl Received {
    /// The connection of the request.
    pub(crate) fn share(&self) -> Option<&Share> {
        self.share.as_ref()
    }

    /// Says that so many bytes are held of it from now on. Returns whether there is room for them.
    pub(crate) fn set(&mut self, held: usize) -> bool {
        let bytes = held.saturating_sub(COVERED_BYTES);
        let before = std::mem::replace(&mut self.counted, bytes);
        let share = self.share.as_ref();
        let of_connection = share.map(Share::unfinished);
        let of_address = share.and_then(Share::address).map(|it| &it.unfinished);
        let of_node = &*self.of_node.0;
        if bytes <= before {
            for counter in [Some(of_node), of_connection, of_address]
                .into_iter()
                .flatten()
            {
                counter.fetch_sub(before - bytes, Ordering::Relaxed);
            }
            return true;
        }
        let more = bytes - before;
        let add = |counter: &AtomicUsize| counter.fetch_add(more, Ordering::Relaxed) + more;
        let (node, connection) = (add(of_node), of_connection.map_or(0, add));
        let address = of_address.map_or(0, add);
        let Some(free) = UNFINISHED_BYTES_MAX.checked_sub(node) else {
            return false;
        };
        connection <= free / UNFINISHED_PARTS && address <= free
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.set(0);
    }
}

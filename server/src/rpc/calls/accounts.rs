//! The accounts of calls and of pages: what a connection may take of each, and which connection is
//! closed when there is nothing left.
//!
//! A call that ends by itself, however long its client waits, must find room beside streams that
//! stay open; and a connection with few calls beside connections with many. So streams get a part
//! of the memory only, and what is left last is for connections with few calls. Stalled calls,
//! which wait for their clients, could use up all of that; a connection with few calls then takes
//! the place of the connection that has the most stalled ones.
//!
//! Invariants: no account is overdrawn; a connection that holds more than a little holds at most
//! its part of what is free beside the reserve.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::debug;

use crate::{
    rpc::answer::{failure::Failure, status::Reason},
    share::{
        CALLS_BYTES_MAX, CALLS_PARTS, FEW_BYTES, PAGES_BYTES_MAX, STREAMS_BYTES_MAX, Share,
        UNIT_BYTES, WeakShare,
    },
    transport::ConnectionInfo,
};

/// Part of an account that is for connections that hold little.
pub(super) const RESERVE_PARTS: usize = 16;
/// Stalled calls that a connection may have while others need their memory: a client on a slow
/// link has a few that are on their way.
const STALLED_FEW: usize = 16;
/// How long a call waits for the memory of a connection that was closed: that ends as soon as its
/// task runs.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
/// Calls that wait so at once; each takes some memory that is not charged.
const ROOM_WAITING_MAX: usize = 1024;
/// Memory of a page: the largest, of metrics, and its stream.
pub(super) const PAGE_BYTES: usize = 128 * 1024;
/// A request of at least this size is charged while it waits.
const REQUEST_BYTES_MIN: usize = 16 * 1024;

/// Whether a call ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rpc) enum Kind {
    /// It is answered once, within its deadline.
    Short,
    /// It is a stream, or waits for others: it lasts as long as its client wants.
    Long,
}

impl Kind {
    fn taken(self, share: &Share) -> &Arc<AtomicUsize> {
        match self {
            Self::Short => share.calls(),
            Self::Long => share.streams(),
        }
    }
}

/// The accounts of calls and of pages. Clones share them.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct Calls {
    calls: Arc<Semaphore>,
    /// The part of `calls` that is for calls that last.
    streams: Arc<Semaphore>,
    pages: Arc<Semaphore>,
    /// Permits for calls that wait for room.
    waiting: Arc<Semaphore>,
    /// The connections that made calls.
    connections: Arc<Mutex<Vec<WeakShare>>>,
}

/// Charged memory; released when dropped.
#[derive(Debug, Default)]
pub(in crate::rpc) struct Charged {
    _free: [Option<OwnedSemaphorePermit>; 2],
    _part: Option<Part>,
}

/// Units that a connection has taken; given back when dropped.
#[derive(Debug)]
struct Part {
    taken: Arc<AtomicUsize>,
    units: usize,
}

impl Part {
    /// Takes `units`, and returns what the connection has taken with them.
    fn take(taken: &Arc<AtomicUsize>, units: usize) -> (Self, usize) {
        let before = taken.fetch_add(units, Ordering::Relaxed);
        let part = Self {
            taken: Arc::clone(taken),
            units,
        };
        (part, before + units)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.units, Ordering::Relaxed);
    }
}

impl Calls {
    pub(in crate::rpc) fn new() -> Self {
        let account = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT_BYTES));
        Self {
            calls: account(CALLS_BYTES_MAX),
            streams: account(STREAMS_BYTES_MAX),
            pages: account(PAGES_BYTES_MAX),
            waiting: Arc::new(Semaphore::new(ROOM_WAITING_MAX)),
            connections: Arc::default(),
        }
    }

    /// Charges a request that is held while its call waits.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(in crate::rpc) async fn charge(
        &self,
        request_bytes: usize,
        connection: Option<&ConnectionInfo>,
    ) -> Result<Charged, Failure> {
        if request_bytes < REQUEST_BYTES_MIN {
            return Ok(Charged::default());
        }
        let share = connection.map(|connection| &connection.share);
        self.take_or_wait(Kind::Short, request_bytes, share)
            .await
            .ok_or_else(|| Reason::TooManyRequests.into())
    }

    /// Takes `bytes` for a call of a connection, if there is room.
    pub(super) fn take(&self, kind: Kind, bytes: usize, share: Option<&Share>) -> Option<Charged> {
        if bytes == 0 {
            return Some(Charged::default());
        }
        let units = units(bytes)?;
        let part = match share {
            Some(share) => {
                let (part, all) = Part::take(kind.taken(share), units as usize);
                if !is_few(all) && all > self.beside_reserve(kind) / CALLS_PARTS {
                    return None;
                }
                Some(part)
            }
            None => None,
        };
        let streams = match kind {
            Kind::Short => None,
            Kind::Long => Some(acquire(&self.streams, units)?),
        };
        Some(Charged {
            _free: [streams, Some(acquire(&self.calls, units)?)],
            _part: part,
        })
    }

    /// Free units, without those that are for connections that hold little.
    fn beside_reserve(&self, kind: Kind) -> usize {
        let (calls, streams) = (&self.calls, &self.streams);
        let (free, all) = match kind {
            Kind::Short => (calls.available_permits(), CALLS_BYTES_MAX),
            Kind::Long => {
                let free = streams.available_permits().min(calls.available_permits());
                (free, STREAMS_BYTES_MAX)
            }
        };
        free.saturating_sub(all / UNIT_BYTES / RESERVE_PARTS)
    }

    /// As [`Calls::take`]; for a connection that holds little, waits for room that another
    /// connection has to make.
    ///
    /// # Cancel safety
    /// Nothing is held when the future is dropped; a connection may have been closed.
    pub(super) async fn take_or_wait(
        &self,
        kind: Kind,
        bytes: usize,
        share: Option<&Share>,
    ) -> Option<Charged> {
        if let Some(charged) = self.take(kind, bytes, share) {
            return Some(charged);
        }
        let (share, units) = (share?, units(bytes)?);
        let (part, all) = Part::take(kind.taken(share), units as usize);
        if !is_few(all) {
            return None;
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        if !self.make_room(share) {
            return None;
        }
        let room = async {
            let streams = match kind {
                Kind::Short => None,
                Kind::Long => Some(wait(&self.streams, units).await?),
            };
            Some([streams, Some(wait(&self.calls, units).await?)])
        };
        Some(Charged {
            _free: timeout(ROOM_TIMEOUT, room).await.ok()??,
            _part: Some(part),
        })
    }

    /// Takes memory for a page.
    pub(super) fn take_page(&self, share: Option<&Share>) -> Option<Charged> {
        let units = units(PAGE_BYTES)?;
        let part = match share {
            Some(share) => {
                let (part, all) = Part::take(share.pages(), units as usize);
                if all > self.pages.available_permits() / CALLS_PARTS {
                    return None;
                }
                Some(part)
            }
            None => None,
        };
        Some(Charged {
            _free: [Some(acquire(&self.pages, units)?), None],
            _part: part,
        })
    }

    /// Remembers a connection that makes a call for the first time.
    pub(super) fn remember(&self, share: &Share) {
        if !share.is_first_call() {
            return;
        }
        let mut connections = self.connections.lock();
        if connections.len() == connections.capacity() {
            connections.retain(WeakShare::is_alive);
        }
        connections.push(share.downgrade());
    }

    /// Closes the connection with the most stalled calls, if it has more than a few, and is not
    /// `own`. Returns whether there is room to wait for.
    fn make_room(&self, own: &Share) -> bool {
        let connections = self.connections.lock();
        let mut most: Option<(usize, Share)> = None;
        for share in connections.iter().filter_map(WeakShare::upgrade) {
            let stalled = share.stalled();
            if stalled <= STALLED_FEW || share.is_same(own) {
                continue;
            }
            if share.is_closed() {
                // It has not ended yet, and gives back what it holds when it does.
                return true;
            }
            if most.as_ref().is_none_or(|(than, _)| stalled > *than) {
                most = Some((stalled, share));
            }
        }
        let Some((stalled, share)) = most else {
            return false;
        };
        debug!(
            stalled,
            "closing a connection: others need the memory of its stalled calls"
        );
        share.close();
        true
    }
}

/// Whether a connection that has taken so many units holds little.
const fn is_few(units: usize) -> bool {
    units <= FEW_BYTES / UNIT_BYTES
}

fn units(bytes: usize) -> Option<u32> {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()
}

async fn wait(account: &Arc<Semaphore>, units: u32) -> Option<OwnedSemaphorePermit> {
    Arc::clone(account).acquire_many_owned(units).await.ok()
}

fn acquire(account: &Arc<Semaphore>, units: u32) -> Option<OwnedSemaphorePermit> {
    Arc::clone(account).try_acquire_many_owned(units).ok()
}

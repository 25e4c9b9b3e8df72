//! The accounts of calls and of pages: what a connection may take of each, and which connection is
//! closed when there is nothing left.
//!
//! A call that ends by itself, however long its client waits, must find room beside streams that
//! stay open; a connection with few calls beside connections with many; and the clients at one
//! address beside those at another. So streams get a part of the memory only, an address holds no
//! more than it leaves to others, and what is left last is for connections with few calls. Stalled
//! calls, which wait for their clients, could use up all of that; a connection with few calls then
//! takes the place of one at the address that has the most stalled ones.
//!
//! Invariants: no account is overdrawn; a connection that holds more than a little holds at most
//! its part of what is free beside the reserve, and its address at most as much as is free.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Weak,
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
        Address, CALLS_BYTES_MAX, CALLS_PARTS, FEW_BYTES, PAGES_BYTES_MAX, STREAMS_BYTES_MAX,
        Share, UNIT_BYTES, WeakShare, network,
    },
    transport::ConnectionInfo,
};

/// Part of an account that is for connections that hold little.
pub(super) const RESERVE_PARTS: usize = 16;
/// Part of an account that all connections of one address leave to others, even if each of them
/// holds little.
pub(super) const OTHERS_PARTS: usize = 8;
/// Stalled calls that the clients at one address may have while others need their memory: on a slow
/// link a few are on their way.
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

    fn taken_by_address(self, share: &Share) -> Option<&Arc<AtomicUsize>> {
        let address = share.address()?;
        Some(match self {
            Self::Short => &address.calls,
            Self::Long => &address.streams,
        })
    }

    /// All that calls of this kind may hold, in units.
    const fn all(self) -> usize {
        match self {
            Self::Short => CALLS_BYTES_MAX / UNIT_BYTES,
            Self::Long => STREAMS_BYTES_MAX / UNIT_BYTES,
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
    clients: Arc<Mutex<Clients>>,
}

/// The connections that made calls, and their addresses.
#[derive(Debug, Default)]
struct Clients {
    connections: Vec<WeakShare>,
    addresses: HashMap<IpAddr, Weak<Address>>,
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
    by_address: Option<Arc<AtomicUsize>>,
    units: usize,
}

/// What a connection and its address have taken, in units.
#[derive(Clone, Copy, Debug)]
struct Holding {
    connection: usize,
    address: usize,
}

impl Holding {
    /// Whether the connection holds little.
    const fn is_few(self) -> bool {
        self.connection <= FEW_BYTES / UNIT_BYTES
    }
}

impl Part {
    /// Takes `units`, and returns what is held with them.
    fn take(
        taken: &Arc<AtomicUsize>,
        by_address: Option<&Arc<AtomicUsize>>,
        units: u32,
    ) -> (Self, Holding) {
        let units = units as usize;
        let add = |taken: &Arc<AtomicUsize>| taken.fetch_add(units, Ordering::Relaxed) + units;
        let holding = Holding {
            connection: add(taken),
            address: by_address.map_or(0, add),
        };
        let part = Self {
            taken: Arc::clone(taken),
            by_address: by_address.cloned(),
            units,
        };
        (part, holding)
    }

    fn of_call(kind: Kind, share: &Share, units: u32) -> (Self, Holding) {
        Self::take(kind.taken(share), kind.taken_by_address(share), units)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        for taken in [Some(&self.taken), self.by_address.as_ref()]
            .into_iter()
            .flatten()
        {
            taken.fetch_sub(self.units, Ordering::Relaxed);
        }
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
            clients: Arc::default(),
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
                let (part, holding) = Part::of_call(kind, share, units);
                if !self.is_within_part(kind, holding) {
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

    /// Whether a connection and its address may hold so much.
    fn is_within_part(&self, kind: Kind, holding: Holding) -> bool {
        if holding.is_few() {
            return holding.address <= kind.all() - kind.all() / OTHERS_PARTS;
        }
        let free = match kind {
            Kind::Short => self.calls.available_permits(),
            Kind::Long => {
                let streams = self.streams.available_permits();
                streams.min(self.calls.available_permits())
            }
        };
        let free = free.saturating_sub(kind.all() / RESERVE_PARTS);
        holding.connection <= free / CALLS_PARTS && holding.address <= free
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
        let (part, holding) = Part::of_call(kind, share, units);
        if !holding.is_few() {
            return None;
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        let own_alone = !self.is_within_part(kind, holding);
        if !self.make_room(share, own_alone) {
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
                let (part, holding) = Part::take(share.pages(), None, units);
                if holding.connection > self.pages.available_permits() / CALLS_PARTS {
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

    /// Remembers a connection that makes its first call, and its address.
    pub(super) fn remember(&self, connection: &ConnectionInfo) {
        let share = &connection.share;
        if share.address().is_some() {
            return;
        }
        let address = match connection.peer {
            Some(peer) => self.address(network(peer.ip())),
            None => Arc::default(),
        };
        share.settle(address);
        self.register(share);
    }

    fn address(&self, of: IpAddr) -> Arc<Address> {
        let mut clients = self.clients.lock();
        let known = clients.addresses.entry(of).or_default();
        let address = known.upgrade().unwrap_or_default();
        *known = Arc::downgrade(&address);
        address
    }

    /// Makes a connection one that may be closed.
    pub(super) fn register(&self, share: &Share) {
        let mut clients = self.clients.lock();
        let Clients {
            connections,
            addresses,
        } = &mut *clients;
        if connections.len() == connections.capacity() {
            connections.retain(WeakShare::is_alive);
            addresses.retain(|_, address| address.strong_count() > 0);
        }
        connections.push(share.downgrade());
    }

    /// Closes a connection whose calls are stalled: of the address that has most of them, if these
    /// are more than a few, the connection with the most. Looks at the address of `own` alone if
    /// that holds all it may. Returns whether there is room to wait for.
    fn make_room(&self, own: &Share, own_alone: bool) -> bool {
        let clients = self.clients.lock();
        let connections = || clients.connections.iter().filter_map(WeakShare::upgrade);
        let stalled_at = |share: &Share| share.address().map_or(0, |address| address.stalled());
        let address = if own_alone {
            own.address().cloned()
        } else {
            let most = connections().max_by_key(stalled_at);
            most.and_then(|share| share.address().cloned())
        };
        let Some(address) = address.filter(|address| address.stalled() > STALLED_FEW) else {
            return false;
        };
        let of_address = |share: &Share| {
            let own = share.address();
            own.is_some_and(|own| Arc::ptr_eq(own, &address)) && share.stalled() > 0
        };
        let mut most: Option<Share> = None;
        for share in connections().filter(of_address) {
            if share.is_closed() {
                // It has not ended yet, and gives back what it holds when it does.
                return true;
            }
            let than = most.as_ref().map_or(0, Share::stalled);
            if share.stalled() > than && !share.is_same(own) {
                most = Some(share);
            }
        }
        let Some(share) = most else {
            return false;
        };
        let stalled = share.stalled();
        debug!(
            stalled,
            "closing a connection: others need the memory of its stalled calls"
        );
        share.close();
        true
    }
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

//! Bounds of a node on memory and concurrent work, and the share of each connection.
//!
//! The share belongs to the connection, since its calls have nothing else in common. The services
//! decide what to charge to it, and when, and may close the connection.

mod received;

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Context,
};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[cfg(test)]
pub(crate) use self::received::{COVERED_BYTES, UNFINISHED_BYTES_MAX};
pub(crate) use self::received::{Received, Receiving, UNFINISHED_MAX};

/// Unit of the memory accounts, chosen so that a semaphore has enough permits.
pub(crate) const UNIT_BYTES: usize = 1024;
/// Bytes that all responses may hold while they are read or wait for their clients.
pub(crate) const ANSWERS_BYTES_MAX: usize = 512 << 20;
/// Bytes that the responses of one connection may hold together, except for a single larger one, so
/// that a client that does not read leaves most to the others.
pub(crate) const SHARE_BYTES: usize = ANSWERS_BYTES_MAX / 4;
/// Bytes that all calls may hold beside large responses: some sixteen thousand calls at once.
pub(crate) const CALLS_BYTES_MAX: usize = 512 << 20;
/// Bytes of these that calls may hold that last: streams, and calls that wait for others. The rest
/// is for calls that end by themselves, some two thousand at once.
pub(crate) const STREAMS_BYTES_MAX: usize = CALLS_BYTES_MAX / 8 * 7;
/// Bytes for calls of one kind that a connection may hold although others hold more than theirs:
/// some sixteen calls.
pub(crate) const FEW_BYTES: usize = 512 << 10;
/// Divisor of the free memory for calls: a connection may hold one part, so at its bound it leaves
/// four fifths to the next. Some forty greedy connections leave next to nothing; what is kept for
/// others then is in `rpc/calls/accounts.rs`.
pub(crate) const CALLS_PARTS: usize = 4;
/// Bytes that all HTTP pages may hold, beside calls: some five hundred at once.
pub(crate) const PAGES_BYTES_MAX: usize = 64 << 20;
/// Concurrent reads of unknown size per connection, half of the node's: the lists of one client do
/// not delay those of all others.
pub(crate) const SHARE_READS: usize = 16;
/// Far walks of one connection that are in progress or wait for their turn, a quarter of the
/// node's.
pub(crate) const SHARE_WALKS: usize = 8;
/// Messages of one connection, and of one address, that wait at once for their turn to be decoded.
/// However many there are, those of others wait for one of them.
pub(crate) const SHARE_DECODES: usize = 1;

/// The share of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Share(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    answers: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
    streams: Arc<AtomicUsize>,
    pages: Arc<AtomicUsize>,
    unfinished: AtomicUsize,
    /// Whether a heavy message of it took long to decode, once there was one.
    took_long: Mutex<Option<bool>>,
    /// Calls that wait for the client: see [`Share::stall`].
    stalled: AtomicUsize,
    /// What all connections of the client's address hold, once it has made a call.
    address: OnceLock<Arc<Address>>,
    is_closed: AtomicBool,
    /// Wakes the task that reads the connection.
    reader: AtomicWaker,
    reads: Arc<Semaphore>,
    walks: Arc<Semaphore>,
    decodes: Arc<Semaphore>,
}

/// Bits of an IPv6 address that a client chooses.
const CLIENT_BITS: u32 = 64;

/// What is counted as one address: of IPv6 the network that one client gets.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> CLIENT_BITS << CLIENT_BITS;
            IpAddr::V6(bits.into())
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// What the calls of all connections from one address hold.
#[derive(Debug)]
pub(crate) struct Address {
    /// As [`Share::calls`].
    pub(crate) calls: Arc<AtomicUsize>,
    /// As [`Share::streams`].
    pub(crate) streams: Arc<AtomicUsize>,
    /// As [`Share::unfinished`].
    pub(crate) unfinished: AtomicUsize,
    stalled: AtomicUsize,
    /// Whether a message from the address took long to decode.
    took_long: AtomicBool,
    /// Permits for its messages that wait for their turn to be decoded: those that are not known
    /// to take long, and the others.
    decodes: [Arc<Semaphore>; 2],
}

impl Default for Address {
    fn default() -> Self {
        let one = || Arc::new(Semaphore::new(SHARE_DECODES));
        Self {
            calls: Arc::default(),
            streams: Arc::default(),
            unfinished: AtomicUsize::new(0),
            stalled: AtomicUsize::new(0),
            took_long: AtomicBool::new(false),
            decodes: [one(), one()],
        }
    }
}

impl Address {
    /// Permits for messages that wait for their turn to be decoded, by whether they are likely to
    /// take long.
    pub(crate) fn decodes(&self, long: bool) -> &Arc<Semaphore> {
        &self.decodes[usize::from(long)]
    }

    /// How many of its calls are stalled: see [`Share::stall`].
    pub(crate) fn stalled(&self) -> usize {
        self.stalled.load(Ordering::Relaxed)
    }
}

/// The share of a connection that may have ended.
#[derive(Clone, Debug)]
pub(crate) struct WeakShare(Weak<Parts>);

impl WeakShare {
    /// Whether something of the connection is left.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// The share, as long as something of the connection is left.
    pub(crate) fn upgrade(&self) -> Option<Share> {
        self.0.upgrade().map(Share)
    }
}

/// A call that waits for its client.
#[derive(Debug)]
pub(crate) struct Stalled(Share, Option<Arc<Address>>);

impl Drop for Stalled {
    fn drop(&mut self) {
        self.0.0.stalled.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = &self.1 {
            address.stalled.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Memory for responses, taken from a share; released when dropped.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    units: u32,
    permit: Option<OwnedSemaphorePermit>,
}

impl Shared {
    /// Splits off `units`, or all of them if there are fewer.
    pub(crate) fn split(&mut self, units: u32) -> Self {
        let units = units.min(self.units);
        self.units -= units;
        Self {
            units,
            permit: self.permit.as_mut().and_then(|it| it.split(units as usize)),
        }
    }
}

impl Default for Share {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self(Arc::new(Parts {
            answers: semaphore(SHARE_BYTES / UNIT_BYTES),
            calls: Arc::default(),
            streams: Arc::default(),
            pages: Arc::default(),
            unfinished: AtomicUsize::new(0),
            took_long: Mutex::new(None),
            stalled: AtomicUsize::new(0),
            address: OnceLock::new(),
            is_closed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            reads: semaphore(SHARE_READS),
            walks: semaphore(SHARE_WALKS),
            decodes: semaphore(SHARE_DECODES),
        }))
    }
}

impl Share {
    /// Memory that its calls hold that end by themselves, in units.
    pub(crate) fn calls(&self) -> &Arc<AtomicUsize> {
        &self.0.calls
    }

    /// Memory that its other calls hold, in units.
    pub(crate) fn streams(&self) -> &Arc<AtomicUsize> {
        &self.0.streams
    }

    /// Bytes received of its requests that are not complete.
    pub(crate) fn unfinished(&self) -> &AtomicUsize {
        &self.0.unfinished
    }

    /// Records whether a heavy message took long to decode.
    pub(crate) fn set_took_long(&self, took_long: bool) {
        let mut known = self.0.took_long.lock();
        *known = Some(took_long || *known == Some(true));
        drop(known);
        if let Some(address) = self.address().filter(|_| took_long) {
            address.took_long.store(true, Ordering::Relaxed);
        }
    }

    /// Whether its next heavy message is likely to take long to decode: as one of it did, or for
    /// its first, as one of its address did.
    pub(crate) fn takes_long(&self) -> bool {
        let known = *self.0.took_long.lock();
        known.unwrap_or_else(|| {
            let address = self.address();
            address.is_some_and(|address| address.took_long.load(Ordering::Relaxed))
        })
    }

    /// Counts a call as stalled until the guard is dropped: its client has not sent all of the
    /// request, or has not taken all of the response.
    pub(crate) fn stall(&self) -> Stalled {
        self.0.stalled.fetch_add(1, Ordering::Relaxed);
        let address = self.address().cloned();
        if let Some(address) = &address {
            address.stalled.fetch_add(1, Ordering::Relaxed);
        }
        Stalled(self.clone(), address)
    }

    /// How many of its calls are stalled.
    pub(crate) fn stalled(&self) -> usize {
        self.0.stalled.load(Ordering::Relaxed)
    }

    /// What the connections of its address hold together; nothing before [`Share::settle`].
    pub(crate) fn address(&self) -> Option<&Arc<Address>> {
        self.0.address.get()
    }

    /// Says once what the connections of its address hold.
    pub(crate) fn settle(&self, address: Arc<Address>) {
        // A second one would be the same.
        _ = self.0.address.set(address);
    }

    /// Closes the connection.
    pub(crate) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        self.0.reader.wake();
    }

    /// Whether [`Share::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed.load(Ordering::Acquire)
    }

    /// As [`Share::is_closed`]; wakes the task when it is.
    pub(crate) fn poll_closed(&self, context: &Context<'_>) -> bool {
        self.0.reader.register(context.waker());
        self.is_closed()
    }

    /// Whether both are of one connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A reference that does not keep what the connection holds.
    pub(crate) fn downgrade(&self) -> WeakShare {
        WeakShare(Arc::downgrade(&self.0))
    }

    /// Memory that its pages hold, in units.
    pub(crate) fn pages(&self) -> &Arc<AtomicUsize> {
        &self.0.pages
    }

    /// Permits for reads of unknown size.
    pub(crate) fn reads(&self) -> &Arc<Semaphore> {
        &self.0.reads
    }

    /// Permits for far walks.
    pub(crate) fn walks(&self) -> &Arc<Semaphore> {
        &self.0.walks
    }

    /// Permits for messages that wait for their turn to be decoded.
    pub(crate) fn decodes(&self) -> &Arc<Semaphore> {
        &self.0.decodes
    }

    /// Waits until there is room for `bytes`. A size beyond the share takes all of the share.
    ///
    /// # Cancel safety
    /// Nothing is held when the future is dropped.
    pub(crate) async fn take(&self, bytes: usize) -> Shared {
        let units = units_within(bytes);
        let permit = Arc::clone(&self.0.answers).acquire_many_owned(units).await;
        Shared {
            units,
            permit: Some(permit.expect("a share is never closed")),
        }
    }

    /// Grows `shared` to cover `bytes`, and returns whether there was room.
    pub(crate) fn grow(&self, shared: &mut Shared, bytes: usize) -> bool {
        let units = units_within(bytes).max(shared.units);
        let more = units - shared.units;
        let Ok(permit) = Arc::clone(&self.0.answers).try_acquire_many_owned(more) else {
            return false;
        };
        shared.units = units;
        match &mut shared.permit {
            Some(held) => held.merge(permit),
            None => shared.permit = Some(permit),
        }
        true
    }
}

fn units_within(bytes: usize) -> u32 {
    let units = bytes.min(SHARE_BYTES).div_ceil(UNIT_BYTES);
    u32::try_from(units).unwrap_or(u32::MAX)
}

//! The turns of one read: where it runs, what it holds, and whether it must end early.
//!
//! Used on the read's own thread, which blocks while others have their turn.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    Held, Memory,
    turns::{Running, Turns},
};

/// Work after which a read counts as large, and the work of a large read in one turn: some
/// milliseconds.
const TURN_BYTES: usize = 256 * 1024;
/// Cost of a row beside its bytes; a turn covers some four thousand empty rows.
const ROW_BYTES: usize = 64;
/// Rows are charged in batches of this many bytes.
const CHARGED_AT_ONCE_BYTES: usize = 16 * 1024;
/// Step by which the held memory grows.
const GROWTH_BYTES: usize = 256 * 1024;

/// The places where reads run.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) short: Arc<Semaphore>,
    pub(super) large: Arc<Semaphore>,
    /// The large reads whose turn it is.
    pub(super) turns: Arc<Turns>,
}

/// How a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rpc) enum Start {
    /// As a short read, which becomes a large one when it takes too long.
    Short,
    /// As a short read, of which every row counts as kept.
    Charged,
    /// As a short read that ends by itself when its turn [is over](Turn::is_over).
    OneTurn,
    /// As a large read.
    Large,
}

/// Why a read must end early. Its cursors are at their end from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It needs this many bytes, which are not free.
    NoMemory(usize),
    /// There are too many large reads.
    NoPlace,
    /// Its caller is gone.
    Unwanted,
}

/// A running read.
#[derive(Debug)]
pub(in crate::rpc) struct Turn {
    places: Places,
    memory: Memory,
    /// Work since the turn began.
    work: AtomicUsize,
    state: Mutex<State>,
    start: Start,
    over: AtomicBool,
    /// Bytes of kept rows that are not charged yet.
    uncharged: AtomicUsize,
}

#[derive(Debug)]
struct State {
    place: Place,
    held: Held,
    /// Bytes that are kept; `held` covers them and some more.
    kept: usize,
    end: Option<End>,
    wanted: oneshot::Sender<()>,
    wanted_by: Option<oneshot::Receiver<()>>,
}

/// Permits of the place where the read runs; released with it.
#[derive(Debug)]
enum Place {
    Short {
        _place: OwnedSemaphorePermit,
        /// The place among those of its connection.
        _share: Option<OwnedSemaphorePermit>,
    },
    Large {
        _place: OwnedSemaphorePermit,
        turn: Option<Running>,
    },
}

impl Turn {
    /// Waits for a place.
    pub(super) async fn begin(places: Places, memory: Memory, held: Held, start: Start) -> Self {
        let place = match start {
            Start::Short | Start::Charged | Start::OneTurn => {
                // First a place among the reads of its own connection, or it would keep a common
                // place while it waits for that.
                let _share = match memory.share() {
                    Some(share) => Some(acquire(share.reads()).await),
                    None => None,
                };
                let _place = acquire(&places.short).await;
                Place::Short { _place, _share }
            }
            Start::Large => Place::Large {
                _place: acquire(&places.large).await,
                turn: None,
            },
        };
        let (wanted, wanted_by) = oneshot::channel();
        Self {
            places,
            memory,
            work: AtomicUsize::new(0),
            state: Mutex::new(State {
                place,
                held,
                kept: 0,
                end: None,
                wanted,
                wanted_by: Some(wanted_by),
            }),
            start,
            over: AtomicBool::new(false),
            uncharged: AtomicUsize::new(0),
        }
    }

    /// Whether a read of one turn must end.
    pub(in crate::rpc) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Held by the caller as long as it wants the result.
    pub(super) fn wanted(&self) -> Option<oneshot::Receiver<()>> {
        self.state.lock().wanted_by.take()
    }

    /// Why the read had to end early, if it had to; its result must not be used then.
    pub(super) fn end(&self) -> Option<End> {
        self.state.lock().end
    }

    /// Accounts for a row that was read. Returns whether to continue.
    pub(super) fn row(&self, bytes: usize) -> bool {
        let work = self
            .work
            .fetch_add(bytes + ROW_BYTES, Ordering::Relaxed)
            .saturating_add(bytes + ROW_BYTES);
        if self.start == Start::Charged && !self.charge(bytes) {
            return false;
        }
        work < TURN_BYTES || self.next()
    }

    /// Charges a row, together with others. Returns whether to continue.
    fn charge(&self, bytes: usize) -> bool {
        let uncharged = self.uncharged.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if uncharged < CHARGED_AT_ONCE_BYTES {
            return true;
        }
        self.uncharged.store(0, Ordering::Relaxed);
        self.keep(uncharged)
    }

    /// Charges `bytes` that the reader keeps. Returns whether to continue.
    pub(in crate::rpc) fn keep(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        let State { held, kept, .. } = &mut *state;
        *kept = kept.saturating_add(bytes);
        if *kept <= TURN_BYTES || *kept <= held.bytes() {
            // Every short read may keep a little: they are few.
            return state.end.is_none();
        }
        let wanted = kept.saturating_add(GROWTH_BYTES);
        if !self.memory.grow(held, wanted) && !self.memory.grow(held, *kept) {
            let needed = *kept;
            state.end.get_or_insert(End::NoMemory(needed));
        }
        state.end.is_none()
    }

    /// Transfers the memory that the read holds to its answer: all that it keeps, because unread
    /// answers are not few as short reads are. Without memory for that the read ends.
    pub(in crate::rpc) fn take_held(&self) -> Held {
        let mut state = self.state.lock();
        let State {
            held, kept, end, ..
        } = &mut *state;
        if !self.memory.grow(held, *kept) {
            end.get_or_insert(End::NoMemory(*kept));
        }
        mem::take(held)
    }

    /// Waits for the first turn of a read that starts as large.
    pub(super) fn start(&self) {
        if let Place::Large { turn, .. } = &mut self.state.lock().place {
            *turn = Some(self.places.turns.wait());
        }
    }

    /// Yields to the other large reads. Returns whether to continue.
    fn next(&self) -> bool {
        self.work.store(0, Ordering::Relaxed);
        if self.start == Start::OneTurn {
            self.over.store(true, Ordering::Relaxed);
            return true;
        }
        let mut state = self.state.lock();
        if state.wanted.is_closed() {
            state.end.get_or_insert(End::Unwanted);
        }
        if state.end.is_some() {
            return false;
        }
        if let Place::Short { .. } = state.place {
            let Ok(place) = Arc::clone(&self.places.large).try_acquire_owned() else {
                state.end = Some(End::NoPlace);
                return false;
            };
            // A waiting short read takes the place here.
            state.place = Place::Large {
                _place: place,
                turn: None,
            };
        }
        if let Place::Large { turn, .. } = &mut state.place {
            *turn = None;
            *turn = Some(self.places.turns.wait());
        }
        true
    }
}

async fn acquire(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let place = Arc::clone(places).acquire_owned().await;
    place.expect("places are never closed")
}

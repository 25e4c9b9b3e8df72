//! What the calls on one connection may have together of what a node has for all.
//!
//! Kept with the connection, because its calls know nothing else of each other. What is charged to
//! it, and when, is the matter of whoever serves the calls.

use std::sync::{Arc, atomic::AtomicUsize};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of accounts of memory, so that permits are enough for all of it.
pub(crate) const UNIT_BYTES: usize = 1024;
/// What all answers that are being read or wait for their clients may hold together, in bytes.
pub(crate) const ANSWERS_BYTES_MAX: usize = 512 << 20;
/// What those of one connection may hold together, unless there is only one: so that one client
/// that does not read leaves most to the others.
pub(crate) const SHARE_BYTES: usize = ANSWERS_BYTES_MAX / 4;
/// What all calls may take together, beside large answers: some sixteen thousand at once.
pub(crate) const CALLS_BYTES_MAX: usize = 512 << 20;
/// Of what is free for calls, a connection may have taken one part of so many. Each that takes all
/// it may leaves four fifths of it to the next, so however many are greedy, another finds some.
pub(crate) const CALLS_PARTS: usize = 4;
/// What all pages, which are no calls, may take together: some five hundred at once.
pub(crate) const PAGES_BYTES_MAX: usize = 64 << 20;
/// Reads of unknown size of one connection that run at once, half of those that do at all: one
/// client's lists do not keep all others' waiting.
pub(crate) const SHARE_READS: usize = 16;
/// Writes of one connection that walk far and wait for their turn, a quarter of those that may.
pub(crate) const SHARE_WALKS: usize = 8;

/// The part of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Share(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    answers: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
    pages: Arc<AtomicUsize>,
    reads: Arc<Semaphore>,
    walks: Arc<Semaphore>,
}

/// What is held of a share's memory for answers; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    units: u32,
    permit: Option<OwnedSemaphorePermit>,
}

impl Shared {
    /// Takes `units` out of it, or all of it when it is less.
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
            pages: Arc::default(),
            reads: semaphore(SHARE_READS),
            walks: semaphore(SHARE_WALKS),
        }))
    }
}

impl Share {
    /// Memory that its calls have taken, in units.
    pub(crate) fn calls(&self) -> &Arc<AtomicUsize> {
        &self.0.calls
    }

    /// Memory that its pages have taken, in units.
    pub(crate) fn pages(&self) -> &Arc<AtomicUsize> {
        &self.0.pages
    }

    /// Places for reads of unknown size.
    pub(crate) fn reads(&self) -> &Arc<Semaphore> {
        &self.0.reads
    }

    /// Places for writes that walk far.
    pub(crate) fn walks(&self) -> &Arc<Semaphore> {
        &self.0.walks
    }

    /// Waits until there is room for `bytes`. More than all of it is all of it.
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

    /// Makes `shared` cover `bytes`; whether there was room.
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

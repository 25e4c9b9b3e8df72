//! What the answers on one connection may hold together of the memory for all answers.
//!
//! Kept with the connection, because its calls know nothing else of each other. What is charged to
//! it, and when, is the matter of whoever makes the answers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of accounts of memory, so that permits are enough for all of it.
pub(crate) const UNIT_BYTES: usize = 1024;
/// What all answers that are being read or wait for their clients may hold together, in bytes.
pub(crate) const ANSWERS_BYTES_MAX: usize = 512 << 20;
/// What those of one connection may hold together, unless there is only one: so that one client
/// that does not read leaves most to the others.
pub(crate) const SHARE_BYTES: usize = ANSWERS_BYTES_MAX / 4;

/// The part of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Share(Arc<Semaphore>);

/// What is held of a share; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    units: u32,
    permit: Option<OwnedSemaphorePermit>,
}

impl Default for Share {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SHARE_BYTES / UNIT_BYTES)))
    }
}

impl Share {
    /// Waits until there is room for `bytes`. More than all of it is all of it.
    ///
    /// # Cancel safety
    /// Nothing is held when the future is dropped.
    pub(crate) async fn take(&self, bytes: usize) -> Shared {
        let units = units_within(bytes);
        let permit = Arc::clone(&self.0).acquire_many_owned(units).await;
        Shared {
            units,
            permit: Some(permit.expect("a share is never closed")),
        }
    }

    /// Makes `shared` cover `bytes`; whether there was room.
    pub(crate) fn grow(&self, shared: &mut Shared, bytes: usize) -> bool {
        let units = units_within(bytes).max(shared.units);
        let more = units - shared.units;
        let Ok(permit) = Arc::clone(&self.0).try_acquire_many_owned(more) else {
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

//! What all watch streams of a node may hold of what they read from history.
//!
//! A share is taken before history is read and given back when what was read has left, so memory
//! is bounded whatever the number of streams and whoever does not read.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is read of history at once, and so the usual share.
pub(super) const STEP_BYTES_MAX: usize = 256 * 1024;
/// All shares together: a thousand streams at work, and an eighth of a small node.
pub(super) const SHARES_BYTES_MAX: usize = 256 << 20;
/// The unit of the account.
const UNIT_BYTES: usize = 1024;

/// The account. One per node.
#[derive(Debug)]
pub(super) struct Account {
    free: Arc<Semaphore>,
    units_max: u32,
}

/// A part of the account; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    units: u32,
    permit: OwnedSemaphorePermit,
}

impl Account {
    pub(super) fn new(bytes_max: usize) -> Self {
        let units_max = u32::try_from(bytes_max / UNIT_BYTES).unwrap_or(u32::MAX);
        Self {
            free: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
        }
    }

    /// Waits until so much is free; everything, when it is more than there will ever be.
    pub(super) async fn take(&self, bytes: usize) -> Share {
        let units = self.units(bytes);
        let permit = Arc::clone(&self.free).acquire_many_owned(units).await;
        Share {
            units,
            permit: permit.expect("the account is never closed"),
        }
    }

    /// Makes a share cover `bytes`. Whether it does.
    pub(super) fn grow(&self, share: &mut Share, bytes: usize) -> bool {
        let more = self.units(bytes).saturating_sub(share.units);
        let Ok(permit) = Arc::clone(&self.free).try_acquire_many_owned(more) else {
            return false;
        };
        share.units += more;
        share.permit.merge(permit);
        true
    }

    /// Whether the next to read history has to wait.
    pub(super) fn is_short(&self) -> bool {
        self.free.available_permits() < self.units(STEP_BYTES_MAX) as usize
    }

    fn units(&self, bytes: usize) -> u32 {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        units.min(self.units_max)
    }
}

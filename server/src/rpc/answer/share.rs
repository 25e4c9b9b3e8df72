//! Shares of the memory that the responses of all change streams of a node may hold.
//!
//! A share is taken before history is read, and before a response that is not small is sent. It is
//! released when the response has left, so memory is bounded for any number of streams and of
//! clients that do not read.
//!
//! Invariant: no stream waits for a share while holding one for longer than its client takes, or
//! may take, to read.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of history that are read at once, and so the usual share.
pub(crate) const STEP_BYTES_MAX: usize = 256 * 1024;
/// All shares together: a thousand active streams, and an eighth of a small node.
pub(crate) const SHARES_BYTES_MAX: usize = 256 << 20;
/// The unit of the account.
const UNIT_BYTES: usize = 1024;

/// The account. One per node.
#[derive(Debug)]
pub(crate) struct Account {
    free: Arc<Semaphore>,
    units_max: u32,
}

/// A part of the account; released when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    units: u32,
    permit: OwnedSemaphorePermit,
}

impl Account {
    pub(in crate::rpc) fn new(bytes_max: usize) -> Self {
        let units_max = u32::try_from(bytes_max / UNIT_BYTES).unwrap_or(u32::MAX);
        Self {
            free: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
        }
    }

    /// Waits until `bytes` are free, or all of the account when they are more.
    pub(crate) async fn take(&self, bytes: usize) -> Share {
        let units = self.units(bytes);
        let permit = Arc::clone(&self.free).acquire_many_owned(units).await;
        Share {
            units,
            permit: permit.expect("the account is never closed"),
        }
    }

    /// Takes `bytes` if they are free and no stream waits.
    pub(crate) fn take_now(&self, bytes: usize) -> Option<Share> {
        let units = self.units(bytes);
        let permit = Arc::clone(&self.free).try_acquire_many_owned(units).ok()?;
        Some(Share { units, permit })
    }

    /// Grows a share to cover `bytes`. Returns whether it does.
    pub(crate) fn grow(&self, share: &mut Share, bytes: usize) -> bool {
        let more = self.units(bytes).saturating_sub(share.units);
        let Ok(permit) = Arc::clone(&self.free).try_acquire_many_owned(more) else {
            return false;
        };
        share.units += more;
        share.permit.merge(permit);
        true
    }

    /// Whether the next read of history has to wait. A waiting stream has taken all free bytes.
    pub(in crate::rpc) fn is_short(&self) -> bool {
        self.free.available_permits() < self.units(STEP_BYTES_MAX) as usize
    }

    /// Bytes that are free and not reserved for a waiting stream.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        self.free.available_permits() * UNIT_BYTES
    }

    fn units(&self, bytes: usize) -> u32 {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        units.min(self.units_max)
    }
}

//! Bounds writes that visit many keys when they are applied, which delays all writes behind them on
//! every replica.
//!
//! Applying bounds each of them; this module bounds how many are in progress. A node has one in
//! progress at a time, so other writes wait for at most one from each node. A write whose caller is
//! gone before its turn is never proposed; the turn of a proposed write lasts until its outcome is
//! known, also when its caller is gone.

use std::sync::Arc;

use tenure_statemachine::{Fault, Reader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::rpc::{
    answer::{bulk::CALLER, failure::Failure, status::Reason},
    call::Call,
    services::Services,
};

/// Keys that a write may visit and not count as far: a millisecond or less on each replica, and
/// more than clients usually keep together.
pub(in crate::rpc) const NEAR_ROWS_MAX: usize = 1000;
/// Far walks that wait for their turn on a node, the one in progress included. A write whose
/// deadline passes before its turn is not proposed.
const WAITING_MAX: usize = 32;

/// The turns of a node.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct FarWalks {
    turn: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// A turn; it is over when dropped. Empty for a write that does not walk far. It belongs to
/// [`Services::write_in_turn`], not to the future of the caller, which may be dropped.
#[derive(Debug, Default)]
pub(in crate::rpc) struct Turn {
    permits: Option<[OwnedSemaphorePermit; 2]>,
    _share: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Whether the write walks far, so that others wait for this turn to end.
    pub(in crate::rpc) const fn is_held(&self) -> bool {
        self.permits.is_some()
    }
}

impl FarWalks {
    pub(in crate::rpc) fn new() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// Waits for a turn, if `is_far` finds in the present state that the write needs one.
    ///
    /// # Errors
    /// When too many writes wait, or the call's deadline passes; nothing was proposed.
    ///
    /// # Cancel safety
    /// Nothing is held when the future is dropped.
    pub(in crate::rpc) async fn turn(
        &self,
        services: &Services,
        call: &Call,
        is_far: impl FnOnce(&Reader<'_>) -> Result<bool, Fault>,
    ) -> Result<Turn, Failure> {
        if !services.latest(|reader| Ok(is_far(reader)?))? {
            return Ok(Turn::default());
        }
        let too_many = |_| Failure::from(Reason::TooManyRequests);
        let waiting = Arc::clone(&self.waiting).try_acquire_owned();
        let waiting = waiting.map_err(too_many)?;
        let share = match CALLER.try_with(Clone::clone) {
            Ok(share) => {
                let place = Arc::clone(share.walks()).try_acquire_owned();
                Some(place.map_err(too_many)?)
            }
            Err(_) => None,
        };
        let turn = async {
            let turn = Arc::clone(&self.turn).acquire_owned().await;
            Ok::<_, Failure>(turn.expect("the turns are never closed"))
        };
        Ok(Turn {
            permits: Some([call.read(turn).await?, waiting]),
            _share: share,
        })
    }
}

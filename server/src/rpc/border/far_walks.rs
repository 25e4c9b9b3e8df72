//! Writes that walk far through the state: on every replica, before all writes behind them.
//!
//! Each is bounded when it is applied; what is bounded here is how many are on their way. A node
//! has one under way at a time, so others' writes wait for one from each node and not for all that
//! somebody sent. One whose caller has gone before its turn is never proposed; the turn of one that
//! was proposed stays with it, also when its caller goes.

use std::sync::Arc;

use tenure_statemachine::{Fault, Reader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::rpc::{
    answer::{bulk::CALLER, failure::Failure, status::Reason},
    call::Call,
    services::Services,
};

/// Keys that a write may walk over and not count as far: a millisecond or less on each replica, and
/// more than what clients keep together as one.
pub(in crate::rpc) const NEAR_ROWS_MAX: usize = 1000;
/// Writes that walk far and wait for their turn on a node, the one that has it included. Those that
/// do not come to it within their deadline are not proposed.
const WAITING_MAX: usize = 32;

/// The turns of a node.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct FarWalks {
    turn: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// A turn; over when dropped. Nothing of it is held for a write that does not walk far. It is for
/// [`Services::write_in_turn`], not for the future of the caller, which may be dropped.
#[derive(Debug, Default)]
pub(in crate::rpc) struct Turn {
    permits: Option<[OwnedSemaphorePermit; 2]>,
    _share: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Whether the write walks far, and others wait for this turn to end.
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

    /// Waits for a turn, if `is_far` says of the present state that the write needs one.
    ///
    /// # Errors
    /// When too many wait already, or the call's deadline passes; nothing was proposed.
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

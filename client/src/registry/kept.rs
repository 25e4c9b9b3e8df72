//! A registration that is renewed whenever it is lost.
//!
//! Invariant: there is at most one registration at a time, and none after another instance replaced
//! it, an operator drained or deregistered it, or the registry refused.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::{sync::watch, task::AbortHandle, time::sleep};

use super::registration::{Departure, Register, Registration};
use crate::{
    error::{Error, ErrorKind},
    id::Token,
    response::Readiness,
    retry::Backoff,
};

/// Longest random pause before an instance registers again, if its TTL is not shorter. It spreads
/// the load of instances that were lost at the same time, as by a long outage.
const REJOIN_JITTER: Duration = Duration::from_secs(3);

/// The state of a kept registration.
#[derive(Debug, Clone)]
struct State {
    registration: Option<Arc<Registration>>,
    /// Why it is not registered again.
    ended: Option<Arc<Error>>,
}

/// An instance that registers again whenever its registration is lost. Made by [`Register::keep`].
/// Dropping the handle deregisters the instance in the background.
#[derive(Debug)]
#[must_use = "the instance is deregistered when its handle is dropped"]
pub struct KeptRegistration {
    state: watch::Receiver<State>,
    readiness: watch::Sender<Option<Readiness>>,
    task: AbortHandle,
}

impl KeptRegistration {
    pub(super) fn start(request: Register, first: Registration) -> Self {
        let (states, state) = watch::channel(State {
            registration: Some(Arc::new(first)),
            ended: None,
        });
        let (readiness, wanted) = watch::channel(None);
        let keeping = keep(request, states, wanted);
        Self {
            state,
            readiness,
            task: tokio::spawn(keeping).abort_handle(),
        }
    }

    /// The current registration; `None` while it is lost. It may change at any moment.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Registration>> {
        self.state.borrow().registration.clone()
    }

    /// Sets the readiness of the instance, also for later registrations.
    ///
    /// # Errors
    /// As for [`Registration::set_readiness`]. The readiness is kept for later registrations
    /// nevertheless.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is set; it is kept for later registrations.
    pub async fn set_readiness(&self, readiness: Readiness) -> Result<(), Error> {
        self.readiness.send_replace(Some(readiness));
        match self.current() {
            Some(registration) => registration.set_readiness(readiness).await,
            None => Ok(()),
        }
    }

    /// Waits for the next incarnation.
    ///
    /// # Errors
    /// Why the instance does not register again: another took its place, the registry refuses it,
    /// or the [session](crate::Register::session) that it was registered with is lost.
    ///
    /// # Cancel safety
    /// Cancel safe: a change that was not returned is returned by the next call.
    pub async fn changed(&mut self) -> Result<Token, Arc<Error>> {
        loop {
            if self.state.changed().await.is_err() {
                let text = "the runtime shuts down";
                let ended = Error::local(ErrorKind::Cancelled, text);
                return Err(self
                    .state
                    .borrow()
                    .ended
                    .clone()
                    .unwrap_or_else(|| Arc::new(ended)));
            }
            let state = self.state.borrow_and_update().clone();
            if let Some(error) = state.ended {
                return Err(error);
            }
            if let Some(registration) = state.registration {
                return Ok(registration.incarnation());
            }
        }
    }
}

impl KeptRegistration {
    /// Deregisters the instance and ends the renewal.
    ///
    /// # Errors
    /// As for [`Registration::deregister`]. The registration then ends with its lease.
    ///
    /// # Cancel safety
    /// Dropping the future lets the call finish in the background.
    pub async fn deregister(self) -> Result<(), Error> {
        self.task.abort();
        match self.current() {
            Some(registration) => registration.end().await,
            None => Ok(()),
        }
    }
}

impl Drop for KeptRegistration {
    fn drop(&mut self) {
        // Drops the registration with the task, unless a caller holds a reference to it.
        self.task.abort();
    }
}

async fn keep(
    request: Register,
    states: watch::Sender<State>,
    wanted: watch::Receiver<Option<Readiness>>,
) {
    let mut backoff = Backoff::default();
    let mut spread = REJOIN_JITTER;
    loop {
        let registration = states.borrow().registration.clone();
        if let Some(registration) = registration {
            backoff.reset();
            spread = registration.ttl().min(REJOIN_JITTER);
            let loss = registration.lost().await;
            let id = registration.instance().id();
            if let Some(error) = end_of(&registration).await {
                states.send_modify(|state| state.ended = Some(Arc::new(error)));
                return;
            }
            tracing::warn!(id, %loss, "a registration is lost and will be made again");
            states.send_modify(|state| state.registration = None);
        }
        let jitter = rand::rng().random_range(Duration::ZERO..=spread);
        sleep(jitter + backoff.next_pause()).await;
        let readiness = *wanted.borrow();
        let next = match readiness {
            Some(readiness) => request.clone().readiness(readiness),
            None => request.clone(),
        };
        match next.run().await {
            Ok(registration) => {
                let registration = Arc::new(registration);
                let present = Some(Arc::clone(&registration));
                states.send_modify(|state| state.registration = present);
                set_wanted(&registration, &wanted, readiness).await;
            }
            Err(error) if passes(&error, &request) => {
                tracing::debug!(%error, "a registration could not be made yet");
            }
            Err(error) => {
                tracing::error!(%error, "a registration is refused and not kept any more");
                states.send_modify(|state| state.ended = Some(Arc::new(error)));
                return;
            }
        }
    }
}

/// Whether a failed registration may succeed later. A lost session of the user is final.
fn passes(error: &Error, request: &Register) -> bool {
    let session_lost = error.kind() == ErrorKind::SessionLost;
    error.allows_resume() || (session_lost && request.outlives_its_session())
}

/// Sets the readiness of the registration, currently `set`, until it is the wanted one. Also
/// applies a readiness that was set while there was no registration.
async fn set_wanted(
    registration: &Registration,
    wanted: &watch::Receiver<Option<Readiness>>,
    mut set: Option<Readiness>,
) {
    let mut backoff = Backoff::default();
    loop {
        let wants = *wanted.borrow();
        let Some(readiness) = wants.filter(|_| wants != set) else {
            return;
        };
        match registration.set_readiness(readiness).await {
            Ok(()) => set = wants,
            Err(error) if error.needs_retry() && registration.is_held() => {
                tracing::debug!(%error, "setting a readiness failed; trying again");
                sleep(backoff.next_pause()).await;
            }
            Err(error) => {
                tracing::warn!(%error, "setting a readiness failed");
                return;
            }
        }
    }
}

/// Why a lost registration must not be renewed; `None` if it may. Waits until a server responds.
async fn end_of(registration: &Registration) -> Option<Error> {
    let id = registration.instance().id();
    let mut backoff = Backoff::default();
    let text = loop {
        match registration.departure().await {
            Ok(Departure::Lost) => return None,
            Ok(Departure::Replaced(incarnation)) => {
                break format!("{id:?} was replaced by its incarnation {incarnation}");
            }
            Ok(Departure::Drained) => {
                break format!("{id:?} was drained or deregistered by an operator");
            }
            Err(error) if error.allows_resume() => {
                tracing::debug!(%error, "reading why a registration ended failed; trying again");
                sleep(backoff.next_pause()).await;
            }
            Err(error) => return Some(error),
        }
    };
    Some(Error::local(ErrorKind::InstanceReplaced, text))
}

//! A registration that is made again whenever it is lost.
//!
//! The invariant: there is one registration at a time, and none after another instance took the
//! place, an operator took the instance out, or the registry refused.

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

/// Longest random pause before an instance that was lost registers again, if its time to live is
/// not shorter. Instances that were lost together, as after a long outage, come back spread over
/// it.
const REJOIN_JITTER: Duration = Duration::from_secs(3);

/// What a kept registration is at one moment.
#[derive(Debug, Clone)]
struct Life {
    registration: Option<Arc<Registration>>,
    /// Why it does not come back any more.
    ended: Option<Arc<Error>>,
}

/// An instance that is registered again whenever its registration is lost. Made by
/// [`Register::keep`]. Dropping the handle deregisters the instance in the background.
#[derive(Debug)]
#[must_use = "the instance is deregistered when its handle is dropped"]
pub struct KeptRegistration {
    life: watch::Receiver<Life>,
    readiness: watch::Sender<Option<Readiness>>,
    task: AbortHandle,
}

impl KeptRegistration {
    pub(super) fn start(request: Register, first: Registration) -> Self {
        let (lives, life) = watch::channel(Life {
            registration: Some(Arc::new(first)),
            ended: None,
        });
        let (readiness, wanted) = watch::channel(None);
        let keeping = keep(request, lives, wanted);
        Self {
            life,
            readiness,
            task: tokio::spawn(keeping).abort_handle(),
        }
    }

    /// The present registration; nothing while it is lost and not yet made again. It may change at
    /// any moment.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Registration>> {
        self.life.borrow().registration.clone()
    }

    /// Says whether the instance wants traffic, and says so again after each loss.
    ///
    /// # Errors
    /// As for [`Registration::set_readiness`]. It is remembered all the same.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is said; it is remembered.
    pub async fn set_readiness(&self, readiness: Readiness) -> Result<(), Error> {
        self.readiness.send_replace(Some(readiness));
        match self.current() {
            Some(registration) => registration.set_readiness(readiness).await,
            None => Ok(()),
        }
    }

    /// Waits for the next incarnation, or for the reason why there will be none.
    ///
    /// # Errors
    /// Why the instance does not come back: another took its place, the registry refuses it, or
    /// the [session](crate::Register::session) that it was registered with is lost.
    ///
    /// # Cancel safety
    /// Cancel safe: a change that was not returned is returned by the next call.
    pub async fn changed(&mut self) -> Result<Token, Arc<Error>> {
        loop {
            if self.life.changed().await.is_err() {
                let text = "the runtime shuts down";
                let ended = Error::local(ErrorKind::Cancelled, text);
                return Err(self
                    .life
                    .borrow()
                    .ended
                    .clone()
                    .unwrap_or_else(|| Arc::new(ended)));
            }
            let life = self.life.borrow_and_update().clone();
            if let Some(error) = life.ended {
                return Err(error);
            }
            if let Some(registration) = life.registration {
                return Ok(registration.incarnation());
            }
        }
    }
}

impl KeptRegistration {
    /// Removes the instance now, for good.
    ///
    /// # Errors
    /// As for [`Registration::deregister`]. It then ends with its lease.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest to the background.
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
        // Drops the registration with it, unless somebody else looks at it.
        self.task.abort();
    }
}

async fn keep(
    request: Register,
    lives: watch::Sender<Life>,
    wanted: watch::Receiver<Option<Readiness>>,
) {
    let mut backoff = Backoff::default();
    let mut spread = REJOIN_JITTER;
    loop {
        let registration = lives.borrow().registration.clone();
        if let Some(registration) = registration {
            backoff.reset();
            spread = registration.ttl().min(REJOIN_JITTER);
            let loss = registration.lost().await;
            let id = registration.instance().id();
            if let Some(error) = end_of(&registration).await {
                lives.send_modify(|life| life.ended = Some(Arc::new(error)));
                return;
            }
            tracing::warn!(id, %loss, "a registration is lost and will be made again");
            lives.send_modify(|life| life.registration = None);
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
                lives.send_modify(|life| life.registration = present);
                say(&registration, &wanted, readiness).await;
            }
            Err(error) if passes(&error, &request) => {
                tracing::debug!(%error, "a registration could not be made yet");
            }
            Err(error) => {
                tracing::error!(%error, "a registration is refused and not kept any more");
                lives.send_modify(|life| life.ended = Some(Arc::new(error)));
                return;
            }
        }
    }
}

/// Whether a registration that failed may succeed later. A session of the user does not come back.
fn passes(error: &Error, request: &Register) -> bool {
    let session_lost = error.kind() == ErrorKind::SessionLost;
    error.ends_stream_for_now() || (session_lost && request.outlives_its_session())
}

/// Says what is wanted until that is what the registration says, which says `said` so far. Whoever
/// sets a readiness while there is no registration leaves it to this.
async fn say(
    registration: &Registration,
    wanted: &watch::Receiver<Option<Readiness>>,
    mut said: Option<Readiness>,
) {
    let mut backoff = Backoff::default();
    loop {
        let wants = *wanted.borrow();
        let Some(readiness) = wants.filter(|_| wants != said) else {
            return;
        };
        match registration.set_readiness(readiness).await {
            Ok(()) => said = wants,
            Err(error) if error.leaves_undone() && registration.is_held() => {
                tracing::debug!(%error, "a readiness could not be said yet");
                sleep(backoff.next_pause()).await;
            }
            Err(error) => {
                tracing::warn!(%error, "a readiness is not said");
                return;
            }
        }
    }
}

/// Why an instance that is not registered any more does not come back, unless it does. Waits until
/// somebody can tell.
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
            Err(error) if error.ends_stream_for_now() => {
                tracing::debug!(%error, "why a registration ended is not known yet");
                sleep(backoff.next_pause()).await;
            }
            Err(error) => return Some(error),
        }
    };
    Some(Error::local(ErrorKind::InstanceReplaced, text))
}

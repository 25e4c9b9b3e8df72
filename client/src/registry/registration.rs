//! The handle of a registered instance.

use std::{fmt, future::IntoFuture, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use prost::Message;
use tenure_proto::v1::{
    self, RegisterRequest, RegisterResponse, SetReadinessRequest, registry_client::RegistryClient,
};
use tokio::time::{sleep, timeout};

use super::{
    departure::{self, InstanceRef},
    instance::Instance,
    kept::KeptRegistration,
    key_of,
};
use crate::{
    call::{Call, rpc},
    channel::Lane,
    claim::{ClaimLoss, ClaimSession, SessionChoice, Termination},
    client::Client,
    error::{Error, ErrorKind, Operation},
    id::{LeaseId, Revision, Token},
    response::Readiness,
    retry::Backoff,
    session::Session,
};

/// Timeout for reading the history of a deregistered instance.
const HISTORY_MAX: Duration = Duration::from_secs(5);

/// Request to register an instance. Made by [`Registry::register`](crate::Registry::register).
///
/// # Errors
/// When awaited: [`InvalidArgument`](ErrorKind::InvalidArgument) for an invalid instance, and the
/// errors common to all calls.
///
/// # Cancel safety
/// Dropping the future leaves open whether the instance is registered. It then ends after its TTL,
/// because it is not renewed, or with its [`session`](Self::session).
#[derive(Debug, Clone)]
#[must_use = "an instance is registered when the request is awaited"]
pub struct Register {
    client: Client,
    instance: Instance,
    session: SessionChoice,
}

impl Register {
    pub(super) fn new(client: Client, instance: Instance) -> Self {
        Self {
            client,
            instance,
            session: SessionChoice::default(),
        }
    }

    /// Sets the TTL of the registration's lease, which is renewed in the background; ten seconds
    /// unless set.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.session = SessionChoice::Own(ttl);
        self
    }

    /// Registers with the lease of a session, instead of one of its own.
    pub fn session(mut self, session: &Session) -> Self {
        self.session = SessionChoice::Shared(session.clone());
        self
    }

    /// Registers, and registers again after a random pause whenever the registration is lost, for
    /// as long as the handle lives. Each registration is a new incarnation, with the description
    /// given here and the readiness that was set last.
    ///
    /// It does not register again when another instance with the same id replaced it, when an
    /// operator drained or [deregistered](crate::Registry::deregister) it, or when its
    /// [`session`](Self::session) ended.
    ///
    /// # Errors
    /// As for a single registration; only the first one is awaited.
    ///
    /// # Cancel safety
    /// As for a single registration.
    pub async fn keep(self) -> Result<KeptRegistration, Error> {
        let first = self.clone().run().await?;
        Ok(KeptRegistration::start(self, first))
    }

    /// The same request with this readiness.
    pub(super) fn readiness(mut self, readiness: Readiness) -> Self {
        self.instance = self.instance.readiness(readiness);
        self
    }

    /// Whether it can be renewed when its session is lost.
    pub(super) fn outlives_its_session(&self) -> bool {
        matches!(self.session, SessionChoice::Own(_))
    }

    pub(super) async fn run(self) -> Result<Registration, Error> {
        let session = ClaimSession::open(&self.client, self.session).await?;
        let request = RegisterRequest {
            instance: Some(self.instance.0.clone()),
            incarnation: 0,
            lease: session.lease().get(),
            ttl_ms: 0,
            options: None,
        };
        let client = session.attach(&self.client);
        let call = Call::tenure(Operation::Write, Lane::KeepAlive);
        let answer: RegisterResponse =
            match rpc!(client, call, RegistryClient.register(request)).await {
                Ok(answer) => answer,
                Err(error) => {
                    // Deregisters what the failed call may have registered.
                    let own = session.clone();
                    session.in_background(own.close());
                    return Err(error);
                }
            };
        let incarnation = Token::new(answer.incarnation);
        let key = key_of(self.instance.service(), self.instance.id());
        let termination = Termination::watch(self.client.clone(), vec![(key, incarnation)]);
        Ok(Registration {
            client,
            leaving: session.attach(&self.client.bare()),
            plain: self.client,
            session,
            instance: self.instance,
            incarnation,
            termination,
        })
    }
}

impl IntoFuture for Register {
    type Output = Result<Registration, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// A registered instance. Dropping the handle deregisters it in the background as long as the
/// runtime runs, otherwise when its lease ends.
///
/// A loss is final: see [`Register::keep`] for a registration that is renewed.
#[must_use = "the instance is deregistered when its handle is dropped"]
pub struct Registration {
    /// Writes through it belong to the session of the registration.
    client: Client,
    /// Deregisters, without the guards of the user's client, which may be stale by then. The
    /// incarnation identifies the registration.
    leaving: Client,
    plain: Client,
    session: ClaimSession,
    instance: Instance,
    incarnation: Token,
    termination: Termination,
}

impl Registration {
    /// The incarnation, which is the token of the registration: greater than those of all earlier
    /// incarnations. Changes through this handle are refused once there is another incarnation.
    #[must_use]
    pub fn incarnation(&self) -> Token {
        self.incarnation
    }

    /// The instance as it was registered.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The lease of the registration.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.session.lease()
    }

    /// The TTL of the registration.
    pub(super) fn ttl(&self) -> Duration {
        self.session.ttl()
    }

    /// Whether the registration is not known to be lost. Once false, it stays false.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.termination.reason().is_none() && self.session.is_held()
    }

    /// Waits until the registration is lost: its lease is lost, another incarnation replaced it, or
    /// it was deregistered by another client or after a [`drain`](Self::drain). Several tasks may
    /// wait.
    ///
    /// # Cancel safety
    /// Cancel safe: a loss is final and is reported to every later call.
    pub async fn lost(&self) -> ClaimLoss {
        // Cancel safe: both arms wait for final states.
        tokio::select! {
            biased;
            loss = self.termination.wait() => loss,
            loss = self.session.lost() => ClaimLoss::Lease(loss),
        }
    }

    /// Sets the readiness of the instance.
    ///
    /// # Errors
    /// [`InstanceReplaced`](ErrorKind::InstanceReplaced) when another incarnation took its place,
    /// [`SessionLost`](ErrorKind::SessionLost) when the lease is lost, and the errors common to all
    /// calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is set.
    pub async fn set_readiness(&self, readiness: Readiness) -> Result<(), Error> {
        let request = SetReadinessRequest {
            service: self.instance.service().to_owned(),
            id: self.instance.id().to_owned(),
            incarnation: self.incarnation.get(),
            readiness: readiness.to_message().into(),
            options: None,
        };
        let call = Call::tenure(Operation::Write, Lane::KeepAlive);
        let set = rpc!(self.client, call, RegistryClient.set_readiness(request)).await;
        self.observe(set.map(drop))
    }

    /// Sets the readiness to [`Ready`](Readiness::Ready) or [`NotReady`](Readiness::NotReady).
    ///
    /// # Errors
    /// As for [`set_readiness`](Self::set_readiness).
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is set.
    pub async fn set_ready(&self, ready: bool) -> Result<(), Error> {
        let readiness = if ready {
            Readiness::Ready
        } else {
            Readiness::NotReady
        };
        self.set_readiness(readiness).await
    }

    /// Drains the instance: it receives no new traffic, and is deregistered after the grace period.
    /// Keep the handle until then, or call [`deregister`](Self::deregister) once all requests are
    /// finished.
    ///
    /// # Errors
    /// As for [`set_readiness`](Self::set_readiness).
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it drains.
    pub async fn drain(&self, grace: Duration) -> Result<(), Error> {
        let drained = departure::drain(&self.client, self.instance_ref(), grace).await;
        self.observe(drained.map(drop))
    }

    /// Deregisters the instance.
    ///
    /// # Errors
    /// As for [`set_readiness`](Self::set_readiness). The client then retries in the background.
    ///
    /// # Cancel safety
    /// Dropping the future lets the call finish in the background.
    pub async fn deregister(self) -> Result<(), Error> {
        self.remove().await?;
        self.termination.record(ClaimLoss::Released);
        Ok(())
    }

    async fn remove(&self) -> Result<(), Error> {
        let removed = departure::deregister(&self.leaving, self.instance_ref()).await;
        self.observe(removed.map(drop))
    }

    fn instance_ref(&self) -> InstanceRef {
        InstanceRef::incarnation(&self.instance, self.incarnation)
    }

    /// Deregisters the instance without consuming the handle.
    pub(super) async fn end(&self) -> Result<(), Error> {
        self.remove().await?;
        self.termination.record(ClaimLoss::Released);
        self.session.clone().close().await;
        Ok(())
    }

    /// Why the instance is not registered any more.
    pub(super) async fn departure(&self) -> Result<Departure, Error> {
        let key = key_of(self.instance.service(), self.instance.id());
        let found = self.plain.get(key.clone()).await?;
        if let Some(successor) = found.first() {
            return Ok(Departure::Replaced(Token::from(
                successor.create_revision(),
            )));
        }
        let history = timeout(HISTORY_MAX, self.last_readiness(key)).await;
        // Without history it counts as lost and is registered again; an operator can drain it
        // again.
        let last = history.unwrap_or(Ok(None))?;
        Ok(match last {
            Some(Readiness::Draining) => Departure::Drained,
            _ => Departure::Lost,
        })
    }

    /// The last readiness that was set for this incarnation before its key was deleted, if one was.
    async fn last_readiness(&self, key: Bytes) -> Result<Option<Readiness>, Error> {
        let from = Revision::from(self.incarnation).next();
        let watch = self.plain.watch(key).require_leader();
        let mut changes = watch.start_revision(from).await?;
        let mut last = None;
        while let Some(update) = changes.next().await {
            let update = match update {
                Err(error) if error.kind() == ErrorKind::Compacted => return Ok(None),
                update => update?,
            };
            for event in update {
                if event.is_delete() {
                    return Ok(last);
                }
                let instance = v1::Instance::decode(event.into_kv().into_value());
                last = instance
                    .ok()
                    .map(|instance| Readiness::of(instance.readiness()));
            }
        }
        Ok(None)
    }

    /// Records the end of this incarnation if the result of a call shows it.
    fn observe(&self, answer: Result<(), Error>) -> Result<(), Error> {
        if let Err(error) = &answer
            && is_over(error)
        {
            self.termination.record(ClaimLoss::Revoked);
        }
        answer
    }
}

/// Why a registration ended, other than by its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// Another incarnation took its place.
    Replaced(Token),
    /// It was drained or deregistered by an operator.
    Drained,
    /// Its lease or its key was deleted.
    Lost,
}

fn is_over(error: &Error) -> bool {
    let over = [ErrorKind::InstanceReplaced, ErrorKind::NotFound];
    over.contains(&error.kind())
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("service", &self.instance.service())
            .field("id", &self.instance.id())
            .field("incarnation", &self.incarnation)
            .field("held", &self.is_held())
            .finish_non_exhaustive()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let session = self.session.clone();
        // The key goes with the lease; one that moved to a successor stays.
        if session.is_own() {
            return self.session.in_background(session.close());
        }
        if self.termination.reason().is_some() {
            return;
        }
        let (client, instance) = (self.leaving.clone(), self.instance_ref());
        self.session.in_background(async move {
            let mut backoff = Backoff::default();
            while session.is_held() {
                match departure::deregister(&client, instance.clone()).await {
                    Err(error) if error.needs_retry() => {
                        tracing::debug!(%error, "deregistering an instance failed; trying again");
                    }
                    _ => return,
                }
                sleep(backoff.next_pause()).await;
            }
        });
    }
}

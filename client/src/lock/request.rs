//! The builder of a request for locks.

use std::{collections::BTreeSet, fmt, future::IntoFuture, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tenure_proto::v1::{AcquireRequest, Mode};

use super::{guard::LockGuard, try_acquire::try_acquire};
use crate::{
    claim::{ClaimOptions, ClaimSession, HeldClaims, QueuePlace, SessionChoice},
    client::Client,
    duration::millis,
    error::{Error, ErrorKind},
    id::LeaseId,
    range::IntoBytes,
    session::Session,
};

/// Builder of a request for locks. Made by [`Locks::acquire`](crate::Locks::acquire),
/// [`Locks::acquire_all`](crate::Locks::acquire_all), [`RwLock`](crate::RwLock) and
/// [`Semaphore`](crate::Semaphore); waits in the queue when it is awaited.
///
/// # Errors
/// When awaited: [`WaitOver`](ErrorKind::WaitOver) when it was not granted within the time set by
/// [`wait`](Self::wait), [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) when no server responded
/// in that time, [`SessionLost`](ErrorKind::SessionLost) when its lease ran out first,
/// [`Deadlock`](ErrorKind::Deadlock) when waiting would never end, because a claim ahead of it
/// waits for a lock of the same session, [`ClaimEnded`](ErrorKind::ClaimEnded) when another client
/// removed it from the queue, and the errors common to all calls. Once it waits, broken connections
/// and transient failures of servers are not errors: the wait resumes at another endpoint, in the
/// same place of the queue.
///
/// # Cancel safety
/// Dropping the future withdraws the claim in the background; without a runtime, when its lease
/// ends.
#[derive(Clone)]
#[must_use = "a lock is asked for when the request is awaited"]
pub struct LockRequest {
    options: ClaimOptions,
    names: Vec<Bytes>,
    mode: Mode,
    lock_delay: Duration,
    value: Bytes,
}

impl LockRequest {
    pub(crate) fn new(client: Client, names: Vec<Bytes>, mode: Mode) -> Self {
        Self {
            options: ClaimOptions::new(client),
            names,
            mode,
            lock_delay: Duration::ZERO,
            value: Bytes::new(),
        }
    }

    /// Holds the lock with a lease of its own that ends `ttl` after its last renewal; ten
    /// seconds unless set. It is renewed in the background.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.session = SessionChoice::Own(ttl);
        self
    }

    /// Holds the lock with the lease of a session, instead of one of its own. A session can claim
    /// a name once.
    pub fn session(mut self, session: &Session) -> Self {
        self.options.session = SessionChoice::Shared(session.clone());
        self
    }

    /// The longest time to wait; unless set, the request waits for as long as the lease lives.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.options.wait = Some(wait);
        self
    }

    /// Sets the name that [`Locks::inspect`](crate::Locks::inspect) shows for the claim.
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.options.principal = principal.into();
        self
    }

    /// Delays the next grant by `delay` when the lock is lost without being released, so that the
    /// former holder can stop where no token is checked. No delay unless set.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.lock_delay = delay;
        self
    }

    /// Sets the value of the key of the claim.
    pub fn value(mut self, value: impl IntoBytes) -> Self {
        self.value = value.into_bytes();
        self
    }

    /// Calls `listener` with the place of the request in the queue when it starts to wait, and
    /// again when the wait resumes on another stream. It runs on the async runtime and must not
    /// block.
    pub fn on_queued(mut self, listener: impl Fn(&QueuePlace) + Send + Sync + 'static) -> Self {
        self.options.listener = Some(Arc::new(listener));
        self
    }

    /// Acquires the lock if it is free; returns `None` without waiting otherwise.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future releases a granted lock in the background.
    pub async fn try_now(self) -> Result<Option<LockGuard>, Error> {
        let request = self.check()?;
        let ClaimOptions {
            client, session, ..
        } = self.options;
        let session = ClaimSession::open(&client, session).await?;
        let request = AcquireRequest {
            lease: session.lease().get(),
            wait_ms: 0,
            ..request
        };
        let claims = try_acquire(&client, &session, request).await?;
        Ok(claims.map(|claims| LockGuard::new(HeldClaims::new(client, session, claims))))
    }

    async fn acquire(self) -> Result<LockGuard, Error> {
        let request = self.check()?;
        let names = request.names.clone();
        let of = |lease: LeaseId| AcquireRequest {
            lease: lease.get(),
            ..request
        };
        self.options.acquire(names, of).await.map(LockGuard::new)
    }

    /// Validates the options and builds the request without its lease.
    fn check(&self) -> Result<AcquireRequest, Error> {
        let invalid = |text: &str| Err(Error::local(ErrorKind::InvalidArgument, text));
        if self.names.is_empty() {
            return invalid("no lock is named");
        }
        let names: BTreeSet<Bytes> = self.names.iter().cloned().collect();
        if names.len() != self.names.len() {
            return invalid("a lock is named twice");
        }
        Ok(AcquireRequest {
            names: names.into_iter().collect(),
            mode: Some(self.mode),
            wait_ms: self.options.wait_ms("; `try_now` does not wait")?,
            lock_delay_ms: millis(self.lock_delay),
            principal: self.options.principal.clone(),
            value: self.value.clone(),
            ..AcquireRequest::default()
        })
    }
}

impl IntoFuture for LockRequest {
    type Output = Result<LockGuard, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.acquire())
    }
}

impl fmt::Debug for LockRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockRequest")
            .field("names", &self.names)
            .field("mode", &self.mode)
            .field("wait", &self.options.wait)
            .finish_non_exhaustive()
    }
}

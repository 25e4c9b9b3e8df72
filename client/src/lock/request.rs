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

/// A lock to be acquired. Made by [`Locks::acquire`](crate::Locks::acquire) and its siblings; waits
/// in line when it is awaited.
///
/// # Errors
/// When awaited: [`WaitOver`](ErrorKind::WaitOver) when it was not granted in the time given with
/// [`wait`](Self::wait), [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) when no server said
/// anything in that time, [`SessionLost`](ErrorKind::SessionLost) when its lease ran out first,
/// [`Deadlock`](ErrorKind::Deadlock) when waiting would never end, because a claim ahead of it
/// waits for a lock of the same session, [`ClaimEnded`](ErrorKind::ClaimEnded) when another client
/// removed it from the queue, and whatever any call can meet. Once it waits, broken connections and
/// transient failures of servers are no errors: the wait resumes elsewhere, in the same place.
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

    /// Names the claimant, for inspection of the lock.
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.options.principal = principal.into();
        self
    }

    /// Keeps the lock free for `delay` when it is lost without being released, so that work under
    /// it can end where nothing checks tokens. None unless set.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.lock_delay = delay;
        self
    }

    /// The value of the key that stands for the claim.
    pub fn value(mut self, value: impl IntoBytes) -> Self {
        self.value = value.into_bytes();
        self
    }

    /// Calls `listener` when the request has to wait, with its place in line at that moment, and
    /// again when the wait resumes after a break. Called on the runtime: it must not block.
    pub fn on_queued(mut self, listener: impl Fn(&QueuePlace) + Send + Sync + 'static) -> Self {
        self.options.listener = Some(Arc::new(listener));
        self
    }

    /// Takes the lock if it is free at this moment, and does not wait otherwise: then there is no
    /// guard.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future releases in the background what was granted.
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

    /// The request, but for its lease.
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

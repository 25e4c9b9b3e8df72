//! Sessions: the server remembers what the writes of a session came to, so that one whose answer
//! was lost is sent again and takes effect once.
//!
//! A session lives on a lease, which is renewed in the background on the connection for renewals.
//! The invariant: no number of a session is sent once the session may have ended, because a server
//! that has forgotten it could execute the write a second time under another.

mod inspect;
mod numbering;
mod slot;

use std::{fmt, sync::Arc, time::Duration};

use tenure_proto::v1::{OpenSessionRequest, OpenSessionResponse, session_client::SessionClient};
use tokio::time::Instant;

pub(crate) use numbering::Ticket;
pub(crate) use slot::Numbered;

use crate::{
    call::{Call, ask},
    channel::Lane,
    client::Client,
    error::{Error, ErrorKind, Operation},
    id::LeaseId,
    lease::{KeepAlive, LeaseLoss, Term, millis},
};
use numbering::Numbering;

/// An open session. Writes through [`Session::client`] are numbered: one whose answer is lost is
/// sent again under the same number until it is answered or its deadline passes, and the server
/// executes it once.
///
/// Copies and the clients made from it share the session. It is renewed until the last of them is
/// dropped; then it ends by itself after its time to live, or at once with [`Session::close`].
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
/// let session = client.session(Duration::from_secs(10)).await?;
/// let exact = session.client();
/// // Takes effect once, however often connections break on the way.
/// exact.put("orders/17", "placed").await?;
///
/// tokio::select! {
///     loss = session.lost() => eprintln!("writes are refused from now on: {loss}"),
///     () = tokio::time::sleep(Duration::from_secs(60)) => session.close().await?,
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session {
    core: Arc<Core>,
    /// What the session was opened with.
    origin: Client,
}

/// What all handles of a session share.
pub(crate) struct Core {
    /// Sends without a session and without guards.
    client: Client,
    keep_alive: KeepAlive,
    numbering: Numbering,
}

impl Session {
    async fn open(client: &Client, ttl: Duration) -> Result<Self, Error> {
        let core = Core::open(client.bare(), ttl).await?;
        Ok(Self {
            core: Arc::new(core),
            origin: client.clone(),
        })
    }

    /// A client whose writes belong to the session. It keeps the guards and the deadline that the
    /// session was opened with.
    #[must_use]
    pub fn client(&self) -> Client {
        self.attach(&self.origin)
    }

    /// The same client, guards and deadline included, with its writes in this session.
    #[must_use]
    pub fn attach(&self, client: &Client) -> Client {
        client.numbered(Numbered::Under(Arc::clone(&self.core)))
    }

    /// The lease of the session. Keys attached to it, locks and elections end with the session.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.core.lease()
    }

    /// Time from a renewal to the end of the session.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.core.keep_alive.ttl()
    }

    /// Until when the session certainly lasts, see [`KeepAlive::deadline`].
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.core.keep_alive.deadline()
    }

    /// Whether the session certainly lasts at this moment.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.core.keep_alive.is_held()
    }

    /// Waits until the session is lost. Several tasks may wait.
    ///
    /// # Cancel safety
    /// Cancel safe: a loss is final and is reported to every later call.
    pub async fn lost(&self) -> LeaseLoss {
        self.core.keep_alive.lost().await
    }

    /// Ends the session at the server, with everything attached to its lease. Writes through any
    /// handle of it are refused from the moment this is called.
    ///
    /// # Errors
    /// [`SessionLost`](ErrorKind::SessionLost) when it has ended already, and whatever any call can
    /// meet: then the session ends after its time to live.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the session ends at once or after its time to live.
    pub async fn close(self) -> Result<(), Error> {
        self.core.close().await
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.core, f)
    }
}

/// Opens a session that nobody renews: a lease with a time to live in milliseconds, which etcd's
/// grant does not have.
///
/// # Cancel safety
/// Dropping the future may leave a session behind that ends after its time to live.
pub(crate) async fn lease(client: &Client, ttl: Duration) -> Result<(LeaseId, Term), Error> {
    let request = OpenSessionRequest {
        lease: 0,
        ttl_ms: millis(ttl),
    };
    // Sent again when its answer is lost: the session that nobody learned of ends by itself.
    let call = Call::tenure(Operation::Read, Lane::Calls);
    let sent = Instant::now();
    let opened: OpenSessionResponse = ask!(client, call, SessionClient.open(request)).await?;
    let ttl = Duration::from_millis(opened.ttl_ms);
    Ok((LeaseId::new(opened.session), Term { sent, ttl }))
}

impl Core {
    async fn open(client: Client, ttl: Duration) -> Result<Self, Error> {
        let (lease, term) = lease(&client, ttl).await?;
        Ok(Self {
            keep_alive: KeepAlive::adopt(client.clone(), lease, term),
            client,
            numbering: Numbering::default(),
        })
    }

    pub(crate) fn lease(&self) -> LeaseId {
        self.keep_alive.id()
    }

    /// The number for another write of the session.
    ///
    /// # Errors
    /// [`ErrorKind::SessionLost`] when the session may have ended, and [`ErrorKind::Overloaded`]
    /// when as many writes as a session may have are under way until the deadline.
    pub(crate) async fn draw(self: &Arc<Self>, deadline: Instant) -> Result<Ticket, Error> {
        self.check()?;
        let sequence = self.numbering.draw(deadline).await.ok_or_else(|| {
            let text = "too many writes of the session are under way";
            Error::local(ErrorKind::Overloaded, text)
        })?;
        Ok(Ticket::new(Arc::clone(self), sequence))
    }

    /// Whether anything may be sent under the session.
    ///
    /// # Errors
    /// [`ErrorKind::SessionLost`] when it may have ended.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.keep_alive.is_held() {
            return Ok(());
        }
        let text = format!("session {} is lost; open another", self.lease());
        Err(Error::local(ErrorKind::SessionLost, text))
    }

    /// The server does not know the session any more.
    pub(crate) fn forgotten(&self) {
        self.keep_alive.end(LeaseLoss::Ended);
    }

    async fn close(&self) -> Result<(), Error> {
        self.check()?;
        self.keep_alive.end(LeaseLoss::Closed);
        match inspect::close(&self.client, self.lease()).await {
            // It was certainly alive when `close` was called.
            Err(error) if error.kind() == ErrorKind::SessionLost => Ok(()),
            outcome => outcome,
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("lease", &self.lease())
            .field("held", &self.keep_alive.is_held())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Opens a session that ends `ttl` after its last renewal, with millisecond precision, and
    /// renews it in the background. Pass its [`client`](Session::client) on to what shall write
    /// exactly once.
    ///
    /// # Errors
    /// [`Unimplemented`](ErrorKind::Unimplemented) from a server that is not tenure,
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a `ttl` out of bounds, and whatever any
    /// call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether a session exists; it ends by itself if it does.
    pub async fn session(&self, ttl: Duration) -> Result<Session, Error> {
        Session::open(self, ttl).await
    }
}

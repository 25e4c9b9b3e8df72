//! Sessions: the server remembers the outcomes of a session's writes, so that a write whose answer
//! was lost can be repeated and takes effect once.
//!
//! A session has a lease, which is renewed in the background on the connection for renewals.
//! Invariant: no sequence number of a session is sent once the session may have ended, because a
//! server that has forgotten the session could execute the write a second time in another.

mod automatic;
mod inspect;

use std::{fmt, sync::Arc, time::Duration};

use tenure_proto::v1::{OpenSessionRequest, OpenSessionResponse, session_client::SessionClient};
use tokio::time::Instant;

pub(crate) use automatic::automatic;

use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::{Client, SequenceNumbers, SequencedSession, Sequencing},
    duration::millis,
    error::{Error, ErrorKind, Operation},
    id::LeaseId,
    lease::{KeepAlive, LeaseLoss, Term},
};

/// An open session. Writes through [`Session::client`] are numbered: one whose answer is lost is
/// sent again under the same number until it is answered or its deadline passes, and the server
/// executes it once.
///
/// Clones and the clients made from it share the session. It is renewed until the last of them is
/// dropped; then it ends by itself after its time to live, or at once with [`Session::close`].
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
/// let session = client.sessions().open(Duration::from_secs(10)).await?;
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
#[must_use = "a session ends when its last handle is dropped"]
pub struct Session {
    core: Arc<Core>,
    /// The client that opened the session.
    origin: Client,
}

/// State shared by all handles of a session.
struct Core {
    /// A client without session and guards.
    client: Client,
    keep_alive: KeepAlive,
    numbers: SequenceNumbers,
}

impl Session {
    async fn open(client: &Client, ttl: Duration) -> Result<Self, Error> {
        let core = Core::open(client.bare(), ttl).await?;
        Ok(Self {
            core: Arc::new(core),
            origin: client.clone(),
        })
    }

    /// A client whose writes belong to the session, with the guards and the deadline of the client
    /// that opened it.
    #[must_use]
    pub fn client(&self) -> Client {
        self.attach(&self.origin)
    }

    /// The same client, guards and deadline included, with its writes in this session.
    #[must_use]
    pub fn attach(&self, client: &Client) -> Client {
        let core = Arc::clone(&self.core);
        client.sequenced(Sequencing::Session(core))
    }

    /// The lease of the session. Keys attached to it, locks and elections end with the session.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.core.lease()
    }

    /// The TTL of the session.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.core.keep_alive.ttl()
    }

    /// The time until which the session certainly lasts, see [`KeepAlive::deadline`].
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

    /// Closes the session and deletes everything attached to its lease. Writes through any of its
    /// handles fail from the moment this is called.
    ///
    /// # Errors
    /// [`SessionLost`](ErrorKind::SessionLost) when it has ended already, and the errors common to
    /// all calls: the session then ends after its TTL.
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

/// Opens a session that is not renewed: a lease whose time to live has millisecond precision, which
/// etcd's grant does not offer.
///
/// # Cancel safety
/// Dropping the future may leave a session behind that ends after its time to live.
pub(crate) async fn lease(client: &Client, ttl: Duration) -> Result<(LeaseId, Term), Error> {
    let request = OpenSessionRequest {
        lease: 0,
        ttl_ms: millis(ttl),
    };
    // Marked as a read, so that it is repeated when its answer is lost: an unknown session expires.
    let call = Call::tenure(Operation::Read, Lane::Calls);
    let sent = Instant::now();
    let opened: OpenSessionResponse = rpc!(client, call, SessionClient.open(request)).await?;
    let ttl = Duration::from_millis(opened.ttl_ms);
    Ok((LeaseId::new(opened.session), Term { sent, ttl }))
}

impl Core {
    async fn open(client: Client, ttl: Duration) -> Result<Self, Error> {
        let (lease, term) = lease(&client, ttl).await?;
        Ok(Self {
            keep_alive: KeepAlive::adopt(client.clone(), lease, term),
            client,
            numbers: SequenceNumbers::default(),
        })
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

impl SequencedSession for Core {
    fn lease(&self) -> LeaseId {
        self.keep_alive.id()
    }

    fn numbers(&self) -> &SequenceNumbers {
        &self.numbers
    }

    fn check(&self) -> Result<(), Error> {
        if self.keep_alive.is_held() {
            return Ok(());
        }
        let text = format!("session {} is lost; open another", self.lease());
        Err(Error::local(ErrorKind::SessionLost, text))
    }

    fn forgotten(&self) {
        self.keep_alive.end(LeaseLoss::Ended);
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

/// Sessions of the cluster. Made by [`Client::sessions`].
#[derive(Debug, Clone, Copy)]
pub struct Sessions<'a> {
    client: &'a Client,
}

impl Client {
    /// Sessions, in which a write that is sent again takes effect once.
    #[must_use]
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions { client: self }
    }
}

impl Sessions<'_> {
    /// Opens a session that ends `ttl` after its last renewal, with millisecond precision, and
    /// renews it in the background. Writes through its [`client`](Session::client) take effect
    /// exactly once.
    ///
    /// # Errors
    /// [`Unimplemented`](ErrorKind::Unimplemented) from a server that is not tenure,
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a `ttl` out of bounds, and the errors
    /// common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether a session exists; it expires if it does.
    pub async fn open(self, ttl: Duration) -> Result<Session, Error> {
        Session::open(self.client, ttl).await
    }
}

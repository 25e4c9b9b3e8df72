//! The client handle: state shared by its clones, and the options of each handle.
//!
//! Does not know individual calls: the modules of the services describe them, and `run.rs` makes
//! them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

mod sequence;
mod sequencing;

use tokio::time::Instant;

pub(crate) use sequence::{SequenceNumber, SequenceNumbers, SequencedSession};
pub(crate) use sequencing::{Sequencing, SessionSource};

use crate::{
    auth::TokenCell,
    budget::Budget,
    channel::Pool,
    conditions::Guard,
    config::{ClientBuilder, Config},
    endpoint::IntoEndpoints,
    error::Error,
    hedge::Hedging,
    observe::{Counters, Metrics},
};

/// Largest response that is accepted, etcd's own client-side limit: the server bounds what it
/// sends, and a smaller limit here would make large ranges unreadable.
pub(crate) const RECEIVE_BYTES_MAX: usize = i32::MAX as usize;

/// Upper bound of all timeouts: a longer one means no limit. It keeps deadlines far from the
/// overflow of the clock.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A client of the cluster. Clones are cheap and share connections and state.
///
/// ```no_run
/// # async fn example() -> Result<(), tenure::Error> {
/// let client = tenure::Client::connect("127.0.0.1:2379").await?;
/// client.put("config/mode", "fast").await?;
/// let answer = client.get("config/mode").await?;
/// assert_eq!(answer.value().unwrap(), "fast");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    timeout: Duration,
    /// Guards of every write.
    guards: Arc<[Guard]>,
    sequencing: Sequencing,
}

struct Inner {
    config: Config,
    pool: Pool,
    token: Arc<TokenCell>,
    budget: Budget,
    hedging: Hedging,
    counters: Counters,
    /// Whether an endpoint has answered a call of `tenure.v1`.
    speaks_tenure: AtomicBool,
}

impl Client {
    /// A client for one endpoint or several, without dialling any: [`Client::ready`] does that, or
    /// the first call.
    ///
    /// Port and scheme may be left out, see [`IntoEndpoints`]. Settings are the default ones; see
    /// [`Client::builder`] for others.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tenure::Error> {
    /// use tenure::Client;
    ///
    /// let one = Client::connect("127.0.0.1").await?;
    /// let three = Client::connect(["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"]).await?;
    /// # drop((one, three));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when there is no endpoint or one of them is
    /// not an address.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future has no effect on the cluster.
    pub async fn connect(endpoints: impl IntoEndpoints) -> Result<Self, Error> {
        Self::builder().endpoints(endpoints).connect().await
    }

    /// Returns a builder for a client with other settings than the defaults.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let token = Arc::new(TokenCell::new(&config));
        Self::with_token(config, token)
    }

    fn with_token(config: Config, token: Arc<TokenCell>) -> Result<Self, Error> {
        let pool = Pool::new(&config)?;
        let timeout = config.timeout;
        Ok(Self {
            inner: Arc::new(Inner {
                budget: Budget::new(config.budget_percent, config.budget_per_second),
                hedging: Hedging::new(config.hedge),
                counters: Counters::default(),
                speaks_tenure: AtomicBool::new(false),
                config,
                pool,
                token,
            }),
            timeout,
            guards: Arc::default(),
            sequencing: Sequencing::Off,
        })
    }

    /// The endpoints of this client, as they were given.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.inner.pool.names()
    }

    /// A client with the same settings that talks to one endpoint only, for questions about a
    /// particular server. It keeps the guards and an explicit session; with
    /// [`exactly_once`](ClientBuilder::exactly_once) it opens a session of its own, which is
    /// renewed at that endpoint.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when the endpoint is not an address.
    pub fn only(&self, endpoint: impl Into<String>) -> Result<Self, Error> {
        let endpoints = vec![endpoint.into()];
        let config = Config {
            endpoints,
            timeout: self.timeout,
            ..self.inner.config.clone()
        };
        Ok(Self {
            guards: Arc::clone(&self.guards),
            sequencing: self.sequencing.apart(),
            // Tokens are good on every member, so there is one log-in for all of them.
            ..Self::with_token(config, Arc::clone(&self.inner.token))?
        })
    }

    /// The same client, connections included, with another deadline for calls that set none; with
    /// [`Duration::MAX`] they have no limit.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// The same client, connections included, with these guards on every write, in addition to its
    /// own: on puts, deletions, transactions that can write, compactions, leases, and writes of
    /// tenure's own services. Calls that cannot be guarded, such as those that change members, are
    /// refused through it. Reads and renewals of leases carry no guards.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// use tenure::{Guard, Token};
    ///
    /// let holder = client.guarded([Guard::new("jobs/42", Token::new(17))]);
    /// // Refused with `ErrorKind::StaleGuard` unless token 17 holds the lock "jobs/42".
    /// holder.put("state/jobs/42", "done").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn guarded(&self, guards: impl IntoIterator<Item = Guard>) -> Self {
        let added = guards
            .into_iter()
            .filter(|guard| !self.guards.contains(guard));
        Self {
            guards: self.guards.iter().cloned().chain(added).collect(),
            ..self.clone()
        }
    }

    /// The guards that every write through this handle carries.
    #[must_use]
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// Counters of this client and its clones.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tenure::Error> {
    /// let client = tenure::Client::connect("127.0.0.1:2379").await?;
    /// let metrics = client.metrics();
    /// assert_eq!(metrics.requests, 0);
    /// // As Prometheus reads it:
    /// println!("{metrics}");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.inner.counters.snapshot(self.inner.pool.health())
    }

    /// The same connections and deadline, with neither guards nor a session.
    pub(crate) fn bare(&self) -> Self {
        Self {
            guards: Arc::default(),
            sequencing: Sequencing::Off,
            ..self.clone()
        }
    }

    /// The same client with this source of sequence numbers for its writes.
    pub(crate) fn sequenced(&self, sequencing: Sequencing) -> Self {
        Self {
            sequencing,
            ..self.clone()
        }
    }

    /// Allocates the sequence number of a write that starts now, if this client numbers its writes.
    pub(crate) async fn allocate(
        &self,
        deadline: Instant,
    ) -> Result<Option<SequenceNumber>, Error> {
        self.sequencing.allocate(self, deadline).await
    }

    /// Sends the next attempt to another endpoint, because the current one does not answer.
    pub(crate) fn move_on(&self) {
        self.inner.pool.move_on();
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    pub(crate) fn token(&self) -> &TokenCell {
        &self.inner.token
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// How reads are hedged; nothing when there is no second endpoint to send them to.
    pub(crate) fn hedging(&self) -> Option<&Hedging> {
        (self.inner.pool.len() > 1).then_some(&self.inner.hedging)
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Whether a server has answered a call of `tenure.v1`, and so checks conditions.
    pub(crate) fn speaks_tenure(&self) -> bool {
        self.inner.speaks_tenure.load(Ordering::Relaxed)
    }

    pub(crate) fn learn_tenure(&self) {
        self.inner.speaks_tenure.store(true, Ordering::Relaxed);
    }

    /// The deadline of a call that starts now.
    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + timeout.unwrap_or(self.timeout).min(WAIT_MAX)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<_> = self.endpoints().collect();
        f.debug_struct("Client")
            .field("endpoints", &endpoints)
            .finish_non_exhaustive()
    }
}

//! The client handle, and the one way every call takes: choose an endpoint, attach the token, keep
//! the deadline, decide about another attempt.
//!
//! What a call means is not known here; the API areas say that.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use tonic::{Request, Status, metadata::MetadataValue, transport::Channel};

use crate::{
    auth::TokenCell,
    channel::{Lane, Pool},
    config::{ClientBuilder, Config},
    error::{Error, ErrorKind, Operation},
    retry::{Backoff, may_repeat},
};

/// Largest answer that is taken, etcd's own client-side limit: the server bounds what it sends, and
/// a smaller limit here would make large ranges unreadable.
pub(crate) const RECEIVE_BYTES_MAX: usize = i32::MAX as usize;
/// Metadata that carries the token, as etcd names it.
const TOKEN_KEY: &str = "token";

/// A connection to the cluster. Clones share everything and cost next to nothing.
///
/// ```no_run
/// # async fn example() -> Result<(), tenure::Error> {
/// let client = tenure::Client::connect(["127.0.0.1:2379"]).await?;
/// client.put("config/mode", "fast").await?;
/// let answer = client.get("config/mode").await?;
/// assert_eq!(answer.kvs[0].value, "fast".as_bytes());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    timeout: Duration,
}

struct Inner {
    config: Config,
    pool: Pool,
    token: TokenCell,
}

/// How one call is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) operation: Operation,
    pub(crate) lane: Lane,
    pub(crate) timeout: Option<Duration>,
    /// Whether the deadline is told to the server. Not for streams, which outlive their opening.
    pub(crate) announce: bool,
}

impl Call {
    /// A short call that changes nothing.
    pub(crate) fn read(timeout: Option<Duration>) -> Self {
        Self {
            operation: Operation::Read,
            lane: Lane::Calls,
            timeout,
            announce: true,
        }
    }

    /// A short call that changes something.
    pub(crate) fn write(timeout: Option<Duration>) -> Self {
        Self {
            operation: Operation::Write,
            ..Self::read(timeout)
        }
    }

    /// The opening of a stream; the deadline covers the opening only.
    pub(crate) fn stream(lane: Lane, timeout: Option<Duration>) -> Self {
        Self {
            lane,
            announce: false,
            ..Self::read(timeout)
        }
    }
}

impl Client {
    /// A client for these endpoints with default settings; see [`Client::builder`] for others.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is no endpoint or one of them is not an address.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn connect<E: Into<String>>(
        endpoints: impl IntoIterator<Item = E>,
    ) -> Result<Self, Error> {
        Self::builder().endpoints(endpoints).connect().await
    }

    /// Starts to set up a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let pool = Pool::new(&config)?;
        let token = TokenCell::new(&config);
        let timeout = config.timeout;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                pool,
                token,
            }),
            timeout,
        })
    }

    /// The endpoints of this client, as they were given.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.inner.pool.names()
    }

    /// A client with the same settings that talks to one endpoint only, for questions about a
    /// particular server.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the endpoint is not an address.
    pub fn only(&self, endpoint: impl Into<String>) -> Result<Self, Error> {
        let endpoints = vec![endpoint.into()];
        let config = Config {
            endpoints,
            timeout: self.timeout,
            ..self.inner.config.clone()
        };
        Self::new(config)
    }

    /// The same client, connections included, with another deadline for calls that set none.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            timeout,
        }
    }

    /// Lets the next attempt go to another endpoint, because the present one stays silent.
    pub(crate) fn move_on(&self) {
        self.inner
            .pool
            .avoid(self.inner.pool.pick(Lane::Calls).index);
    }

    /// When a call that starts at this moment has to be over.
    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + timeout.unwrap_or(self.timeout)
    }

    /// Makes `call`: attempts `send` until it succeeds, must not be repeated, or time is up.
    pub(crate) async fn run<Message, Answer, Dispatch, Sending>(
        &self,
        call: Call,
        message: Message,
        send: Dispatch,
    ) -> Result<Answer, Error>
    where
        Message: Clone,
        Dispatch: Fn(Channel, Request<Message>) -> Sending,
        Sending: Future<Output = Result<Answer, Status>>,
    {
        let deadline = self.deadline(call.timeout);
        let mut backoff = Backoff::default();
        let mut renewed = false;
        let mut attempts: u32 = 0;
        loop {
            attempts += 1;
            let error = match self.attempt(call, deadline, message.clone(), &send).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.is_stale_token() && self.inner.token.renewable() && !renewed {
                renewed = true;
                self.inner.token.forget();
                continue;
            }
            if !may_repeat(call.operation, &error) || attempts >= self.inner.config.attempts_max {
                return Err(error);
            }
            // The other endpoints are tried at once; only a full round without success is a reason
            // to wait.
            if attempts.is_multiple_of(self.inner.pool.len()) {
                let resume = Instant::now() + backoff.next_pause();
                if resume >= deadline {
                    return Err(error);
                }
                tokio::time::sleep_until(resume).await;
            }
        }
    }

    async fn attempt<Message, Answer, Dispatch, Sending>(
        &self,
        call: Call,
        deadline: Instant,
        message: Message,
        send: &Dispatch,
    ) -> Result<Answer, Error>
    where
        Dispatch: Fn(Channel, Request<Message>) -> Sending,
        Sending: Future<Output = Result<Answer, Status>>,
    {
        let mut request = Request::new(message);
        let inner = &self.inner;
        if let Some(token) = inner.token.get(&inner.pool, deadline).await? {
            let value = MetadataValue::try_from(token)
                .map_err(|_| Error::local(ErrorKind::Config, "the token is not ASCII text"))?;
            request.metadata_mut().insert(TOKEN_KEY, value);
        }
        if call.announce {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        let pick = inner.pool.pick(call.lane);
        match timeout_at(deadline, send(pick.channel, request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => {
                let error = Error::from_status(status, call.operation, pick.name);
                if error.ends_stream_for_now() {
                    inner.pool.avoid(pick.index);
                }
                tracing::debug!(endpoint = pick.name, %error, "attempt failed");
                Err(error)
            }
            Err(_) => {
                inner.pool.avoid(pick.index);
                Err(Error::deadline(call.operation))
            }
        }
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

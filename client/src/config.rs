//! Configuration of a client: endpoints, credentials, time limits.
//!
//! Reads neither the environment nor files; tools built on the client do that. Invariant: no
//! `Debug` text shows a password or a token.

use std::{fmt, time::Duration};

#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::{breaker, budget, endpoint::IntoEndpoints, hedge::Hedge};

/// Deadline of a call that sets none. Covers an election of a new leader with some room.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long one endpoint may take to accept a connection before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Attempts of one call, all endpoints together: enough to survive a restart of one server, few
/// enough that clients do not multiply the load of a cluster in trouble.
const ATTEMPTS_MAX: u32 = 12;

/// How often a connection is probed while calls are open on it. Servers of etcd refuse clients that
/// probe more often than every five seconds.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a probe may stay unanswered before the connection counts as broken.
const PROBE_TIMEOUT: Duration = Duration::from_secs(6);

/// Text that is not shown: a password or a token.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text, to be sent to a server and nowhere else.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Name and password for servers with authentication enabled.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

/// The configuration of a client.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) endpoints: Vec<String>,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) attempts_max: u32,
    pub(crate) probe_interval: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) token: Option<Secret>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    pub(crate) exactly_once: Option<Duration>,
    pub(crate) budget_percent: u32,
    pub(crate) budget_per_second: u32,
    pub(crate) breaker_failures_max: u32,
    pub(crate) breaker_pause: Duration,
    pub(crate) hedge: Hedge,
}

impl Config {
    /// Whether endpoints without a scheme are reached over TLS.
    #[cfg(feature = "tls")]
    pub(crate) const fn is_secure_by_default(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether endpoints without a scheme are reached over TLS.
    #[cfg(not(feature = "tls"))]
    pub(crate) const fn is_secure_by_default(&self) -> bool {
        false
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            timeout: TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            attempts_max: ATTEMPTS_MAX,
            probe_interval: PROBE_INTERVAL,
            probe_timeout: PROBE_TIMEOUT,
            credentials: None,
            token: None,
            #[cfg(feature = "tls")]
            tls: None,
            exactly_once: None,
            budget_percent: budget::SHARE_PERCENT,
            budget_per_second: budget::PER_SECOND_MIN,
            breaker_failures_max: breaker::FAILURES_MAX,
            breaker_pause: breaker::PAUSE,
            hedge: Hedge::Off,
        }
    }
}

/// Builder of a [`Client`](crate::Client).
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn example() -> Result<(), tenure::Error> {
/// let client = tenure::Client::builder()
///     .endpoints(["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"])
///     .timeout(Duration::from_secs(3))
///     .connect()
///     .await?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until `connect` is called"]
pub struct ClientBuilder {
    pub(crate) config: Config,
}

impl ClientBuilder {
    /// Adds one endpoint or several; see [`IntoEndpoints`] for the accepted forms.
    pub fn endpoints(mut self, endpoints: impl IntoEndpoints) -> Self {
        self.config.endpoints.extend(endpoints.into_endpoints());
        self
    }

    /// Secures connections with these settings: those to endpoints that begin with `https://`, and
    /// to those without a scheme. Without this call the former use the authorities of the system,
    /// and the latter plain text.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.config.tls = Some(tls);
        self
    }

    /// Deadline of every call that does not set its own; five seconds unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// How long one endpoint may take to accept a connection; two seconds unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// The most attempts one call makes, all endpoints together; twelve unless set, at least one.
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.config.attempts_max = attempts.max(1);
        self
    }

    /// Sends every write of the key space, of leases and of tenure's own services in a session that
    /// the client keeps open by itself, so that a write whose answer is lost is sent again and
    /// takes effect once. The session is opened with the first write and ends `ttl` after its last
    /// renewal.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tenure::Error> {
    /// use std::time::Duration;
    ///
    /// let client = tenure::Client::builder()
    ///     .endpoints(["10.0.0.1:2379", "10.0.0.2:2379"])
    ///     .exactly_once(Duration::from_secs(30))
    ///     .connect()
    ///     .await?;
    /// client.put("orders/17", "placed").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// When the session is lost, the writes under way fail with
    /// [`SessionLost`](crate::ErrorKind::SessionLost); those that start later use another session.
    /// Use [`Sessions::open`](crate::Sessions::open) for an explicit session, for example to attach
    /// keys to its lease.
    pub fn exactly_once(mut self, ttl: Duration) -> Self {
        self.config.exactly_once = Some(ttl);
        self
    }

    /// Limits retries: at most `percent` of all calls, plus `per_second`; ten and ten unless set.
    /// Attempts that failed to connect are not counted. Clones of a client share the budget.
    pub fn retry_budget(mut self, percent: u32, per_second: u32) -> Self {
        self.config.budget_percent = percent;
        self.config.budget_per_second = per_second;
        self
    }

    /// Configures the circuit breakers of the endpoints: the number of consecutive connection
    /// failures that opens one, and how long it stays open, varied randomly by half; five and one
    /// second unless set. Zero failures disable the breakers.
    pub fn breaker(mut self, failures_max: u32, pause: Duration) -> Self {
        self.config.breaker_failures_max = failures_max;
        self.config.breaker_pause = pause;
        self
    }

    /// Sends slow reads to a second endpoint as well; off unless set.
    pub fn hedge(mut self, hedge: Hedge) -> Self {
        self.config.hedge = hedge;
        self
    }

    /// How often a connection is probed while calls are open on it, and how long the answer may
    /// take; ten and six seconds unless set. Servers may disconnect clients that probe too often.
    pub fn probe(mut self, interval: Duration, timeout: Duration) -> Self {
        self.config.probe_interval = interval;
        self.config.probe_timeout = timeout;
        self
    }

    /// Authenticates as this user. The token is fetched with the first call, kept by all clones,
    /// and fetched again once a server rejects it. Where authentication is not enabled, calls
    /// carry no token.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.config.credentials = Some(Credentials {
            user: user.into(),
            password: Secret(password.into()),
        });
        self
    }

    /// Sends this token with every call instead of asking the server for one.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = Some(Secret(token.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passwords_and_tokens_are_not_shown() {
        let builder = ClientBuilder::default()
            .endpoints("127.0.0.1:1")
            .credentials("alice", "hunter2")
            .token("s3cr3t");
        let shown = format!("{builder:?}");
        assert!(shown.contains("alice"), "{shown}");
        let client = builder.connect().await.unwrap();
        for text in [shown, format!("{client:?} {:?}", client.token())] {
            assert!(
                !text.contains("hunter2") && !text.contains("s3cr3t"),
                "{text}"
            );
        }
    }
}

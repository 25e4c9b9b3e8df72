//! Connections to the endpoints, and the choice among them.
//!
//! Every endpoint has one connection per lane, opened when first used and reopened by itself. The
//! invariant: traffic of one lane never waits behind traffic of another.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{Notify, futures::Notified};
#[cfg(feature = "tls")]
use tonic::transport::Uri;
use tonic::transport::{Channel, Endpoint};

#[cfg(feature = "tls")]
use crate::secure::Connector;
use crate::{
    breaker::{Breaker, Permit, Refused},
    config::Config,
    endpoint::{Address, unusable},
    error::{Error, ErrorKind},
    observe::EndpointHealth,
};

/// Number of variants of [`Lane`].
const LANES: usize = 3;

/// Bytes that the server may send on one stream before they are read.
const STREAM_WINDOW: u32 = 2 << 20;
/// Bytes that it may send on all streams of a connection. The HTTP/2 library also derives from it
/// how many small frames may wait unread, by half of it over some 200 bytes a frame, and ends the
/// connection beyond them; so this is far more than is ever unread.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Calls = 0,
    /// Renewals of leases, locks and elections, which must not wait.
    KeepAlive = 1,
    /// Watches, streams of ranges, snapshots: traffic that may fill a connection.
    Bulk = 2,
}

/// One endpoint and its connections.
#[derive(Debug)]
struct Server {
    name: String,
    endpoint: Endpoint,
    /// Opens connections over TLS; `None` means plain text.
    #[cfg(feature = "tls")]
    connector: Option<Connector>,
    lanes: [OnceLock<Channel>; LANES],
    breaker: Arc<Breaker>,
}

/// An endpoint chosen for one attempt.
#[derive(Debug)]
pub(crate) struct Pick<'a> {
    /// Its index in the pool, for [`Pool::avoid`] when the attempt fails.
    pub(crate) index: usize,
    /// As the user wrote it.
    pub(crate) name: &'a str,
    /// The connection of the requested lane.
    pub(crate) channel: Channel,
    /// The result of the attempt must be reported to it.
    pub(crate) permit: Permit,
}

/// All endpoints of a client. Every attempt goes to the preferred one, or to the next whose breaker
/// lets it pass; a failed attempt moves the preference on.
#[derive(Debug)]
pub(crate) struct Pool {
    servers: Vec<Server>,
    preferred: AtomicUsize,
    /// Notified when a breaker admits attempts again.
    relief: Arc<Notify>,
}

impl Pool {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let relief = Arc::new(Notify::new());
        let servers = config
            .endpoints
            .iter()
            .map(|name| Server::new(name, config, Arc::clone(&relief)))
            .collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(Error::local(ErrorKind::Config, "no endpoint given"));
        }
        Ok(Self {
            servers,
            preferred: AtomicUsize::new(0),
            relief,
        })
    }

    /// How many endpoints there are; at least one.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.servers.len()).unwrap_or(u32::MAX)
    }

    /// The endpoints as the user wrote them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|server| server.name.as_str())
    }

    /// The endpoints and the states of their breakers.
    pub(crate) fn health(&self) -> Vec<EndpointHealth> {
        let health = |server: &Server| EndpointHealth {
            endpoint: server.name.clone(),
            breaker: server.breaker.state(),
        };
        self.servers.iter().map(health).collect()
    }

    /// The preferred endpoint, or the next one whose breaker admits an attempt.
    ///
    /// Renewals ignore the breaker: they are few, and a lease cannot wait.
    ///
    /// # Errors
    /// No breaker admits an attempt. Register with [`relief`](Self::relief) before the call, and
    /// retry when it is notified or the returned time has come.
    pub(crate) fn pick(&self, lane: Lane) -> Result<Pick<'_>, Refused> {
        self.pick_except(lane, None).map_err(|refused| {
            refused.expect("without an exception every endpoint is asked, and there is one")
        })
    }

    /// An endpoint other than that of an attempt under way, if a breaker admits one.
    pub(crate) fn pick_other(&self, lane: Lane, first: usize) -> Option<Pick<'_>> {
        self.pick_except(lane, Some(first)).ok()
    }

    fn pick_except(&self, lane: Lane, except: Option<usize>) -> Result<Pick<'_>, Option<Refused>> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut soonest = None;
        for offset in 0..self.servers.len() {
            let index = (preferred + offset) % self.servers.len();
            if except == Some(index) {
                continue;
            }
            match self.servers[index].breaker.admit() {
                Ok(permit) => return Ok(self.picked(index, lane, permit)),
                Err(refused) => soonest = Some(sooner(soonest, refused)),
            }
        }
        if lane == Lane::KeepAlive && except.is_none() {
            let index = preferred % self.servers.len();
            let permit = self.servers[index].breaker.admit_always();
            return Ok(self.picked(index, lane, permit));
        }
        Err(soonest)
    }

    fn picked(&self, index: usize, lane: Lane, permit: Permit) -> Pick<'_> {
        let server = &self.servers[index];
        let channel = server.lanes[lane as usize].get_or_init(|| server.connect());
        Pick {
            index,
            name: &server.name,
            channel: channel.clone(),
            permit,
        }
    }

    /// Completes when a breaker admits attempts that it refused when this was called.
    pub(crate) fn relief(&self) -> Notified<'_> {
        self.relief.notified()
    }

    /// Makes the next endpoint the preferred one.
    pub(crate) fn move_on(&self) {
        self.avoid(self.preferred.load(Ordering::Relaxed) % self.servers.len());
    }

    /// Prefers the endpoint after `index`, unless another attempt has moved on already.
    pub(crate) fn avoid(&self, index: usize) {
        let next = (index + 1) % self.servers.len();
        // A lost race means that another attempt has already moved on.
        _ = self
            .preferred
            .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Of two reasons to wait, the one that ends first. A probe is answered or fails soon.
fn sooner(known: Option<Refused>, other: Refused) -> Refused {
    match (known, other) {
        (None, refused) => refused,
        (Some(Refused::Until(one)), Refused::Until(two)) => Refused::Until(one.min(two)),
        (Some(Refused::Probing), _) | (_, Refused::Probing) => Refused::Probing,
    }
}

impl Server {
    /// A connection that is opened when it is first used.
    fn connect(&self) -> Channel {
        #[cfg(feature = "tls")]
        if let Some(connector) = &self.connector {
            return connector.connect(&self.endpoint);
        }
        self.endpoint.connect_lazy()
    }

    fn new(name: &str, config: &Config, relief: Arc<Notify>) -> Result<Self, Error> {
        let address = Address::parse(name, config.is_secure_by_default())?;
        #[cfg(not(feature = "tls"))]
        if address.is_secure {
            return Err(unusable(
                name,
                "this client was built without the feature tls",
            ));
        }
        let endpoint = Endpoint::from_shared(format!("http://{}", address.authority))
            .map_err(|error| unusable(name, error))?
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| unusable(name, error))?
            .connect_timeout(config.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(config.probe_interval)
            .keep_alive_timeout(config.probe_timeout);
        #[cfg(feature = "tls")]
        let (endpoint, connector) = if address.is_secure {
            let origin = format!("https://{}", address.authority);
            let origin = origin.parse::<Uri>();
            let origin = origin.map_err(|error| unusable(name, error))?;
            let tls = config.tls.clone().unwrap_or_default();
            let connector = Connector::new(&address, &tls, config.connect_timeout)?;
            // The scheme of the URI is that of the connection; the server sees the origin.
            (endpoint.origin(origin), Some(connector))
        } else {
            (endpoint, None)
        };
        Ok(Self {
            name: name.to_owned(),
            endpoint,
            #[cfg(feature = "tls")]
            connector,
            lanes: Default::default(),
            breaker: Arc::new(Breaker::new(
                config.breaker_failures_max,
                config.breaker_pause,
                relief,
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(endpoints: &[&str]) -> Result<Pool, Error> {
        Pool::new(&Config {
            endpoints: endpoints.iter().map(ToString::to_string).collect(),
            ..Config::default()
        })
    }

    #[tokio::test]
    async fn a_failed_attempt_moves_the_preference_on_once() {
        let pool = pool(&["a:1", "b:1", "c:1"]).unwrap();
        let preferred = |lane| pool.pick(lane).unwrap().name;
        assert_eq!(preferred(Lane::Calls), "a:1");
        pool.avoid(0);
        pool.avoid(0);
        assert_eq!(preferred(Lane::Bulk), "b:1");
        pool.avoid(1);
        pool.avoid(2);
        assert_eq!(preferred(Lane::Calls), "a:1");
    }

    fn open(pool: &Pool, index: usize) {
        for _ in 0..crate::breaker::FAILURES_MAX {
            pool.servers[index].breaker.admit_always().failed();
        }
    }

    #[tokio::test]
    async fn endpoints_whose_breaker_is_open_are_passed_over() {
        let pool = pool(&["a:1", "b:1", "c:1"]).unwrap();
        open(&pool, 0);
        assert_eq!(pool.pick(Lane::Calls).unwrap().name, "b:1");
        open(&pool, 1);
        assert_eq!(pool.pick(Lane::Calls).unwrap().name, "c:1");
        assert!(pool.pick_other(Lane::Calls, 2).is_none());
        open(&pool, 2);
        let refused = pool.pick(Lane::Calls).unwrap_err();
        assert!(matches!(refused, Refused::Until(_)), "{refused:?}");
    }

    #[tokio::test]
    async fn renewals_are_sent_even_when_every_breaker_is_open() {
        let pool = pool(&["a:1"]).unwrap();
        open(&pool, 0);
        pool.pick(Lane::KeepAlive).unwrap().permit.succeeded();
        assert_eq!(pool.pick(Lane::Calls).unwrap().name, "a:1", "it answered");
    }

    #[tokio::test]
    async fn a_second_attempt_goes_to_another_endpoint() {
        let pool = pool(&["a:1", "b:1"]).unwrap();
        assert_eq!(pool.pick_other(Lane::Calls, 0).unwrap().name, "b:1");
        assert_eq!(pool.pick_other(Lane::Calls, 1).unwrap().name, "a:1");
    }

    #[test]
    fn endpoints_that_are_no_addresses_are_named_in_the_error() {
        for bad in ["", "ftp://a:1", "https://a:b", "a b:1"] {
            let error = pool(&["ok:1", bad]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(&format!("{bad:?}")), "{error}");
        }
        assert_eq!(pool(&[]).unwrap_err().kind(), ErrorKind::Config);
    }
}

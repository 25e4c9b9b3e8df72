//! Connections to the endpoints, and the choice among them.
//!
//! Every endpoint has one connection per lane, opened when first used and reopened by itself. The
//! invariant: traffic of one lane never waits behind traffic of another.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use tonic::transport::{Channel, Endpoint};

use crate::{
    config::Config,
    error::{Error, ErrorKind},
};

/// Number of variants of [`Lane`].
const LANES: usize = 3;

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Short calls.
    Calls = 0,
    /// Renewals of leases, which must not wait.
    KeepAlive = 1,
    /// Watches, streams of ranges, snapshots: whatever may fill a connection.
    Bulk = 2,
}

/// One endpoint and its connections.
#[derive(Debug)]
struct Server {
    name: String,
    endpoint: Endpoint,
    lanes: [OnceLock<Channel>; LANES],
}

/// An endpoint chosen for one attempt.
#[derive(Debug)]
pub(crate) struct Pick<'a> {
    /// Where it is in the pool; given back to [`Pool::avoid`] when the attempt fails.
    pub(crate) index: usize,
    /// As the user wrote it.
    pub(crate) name: &'a str,
    /// The connection of the lane asked for.
    pub(crate) channel: Channel,
}

/// All endpoints of a client. Every attempt goes to the preferred one; a failed attempt moves the
/// preference on.
#[derive(Debug)]
pub(crate) struct Pool {
    servers: Vec<Server>,
    preferred: AtomicUsize,
}

impl Pool {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let servers = config
            .endpoints
            .iter()
            .map(|name| Server::new(name, config))
            .collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(Error::local(ErrorKind::Config, "no endpoint given"));
        }
        Ok(Self {
            servers,
            preferred: AtomicUsize::new(0),
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

    /// The preferred endpoint.
    pub(crate) fn pick(&self, lane: Lane) -> Pick<'_> {
        let index = self.preferred.load(Ordering::Relaxed) % self.servers.len();
        let server = &self.servers[index];
        let channel = server.lanes[lane as usize].get_or_init(|| server.endpoint.connect_lazy());
        Pick {
            index,
            name: &server.name,
            channel: channel.clone(),
        }
    }

    /// Prefers the endpoint after `index`, unless another attempt has moved on already.
    pub(crate) fn avoid(&self, index: usize) {
        let next = (index + 1) % self.servers.len();
        // A lost race means that somebody else has chosen anew, which serves as well.
        let _ = self
            .preferred
            .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Server {
    fn new(name: &str, config: &Config) -> Result<Self, Error> {
        let unusable = |reason: &dyn std::fmt::Display| {
            let text = format!("endpoint {name:?} is not usable: {reason}");
            Error::local(ErrorKind::Config, text)
        };
        if name.starts_with("https://") {
            return Err(unusable(&"this client speaks plain text only"));
        }
        let address = name.strip_prefix("http://").unwrap_or(name);
        if address.is_empty() || address.contains("://") {
            return Err(unusable(&"expected host:port or http://host:port"));
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| unusable(&error))?
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| unusable(&error))?
            .connect_timeout(config.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(config.probe_interval)
            .keep_alive_timeout(config.probe_timeout);
        Ok(Self {
            name: name.to_owned(),
            endpoint,
            lanes: Default::default(),
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
        assert_eq!(pool.pick(Lane::Calls).name, "a:1");
        pool.avoid(0);
        pool.avoid(0);
        assert_eq!(pool.pick(Lane::Bulk).name, "b:1");
        pool.avoid(1);
        pool.avoid(2);
        assert_eq!(pool.pick(Lane::Calls).name, "a:1");
    }

    #[test]
    fn endpoints_that_are_no_addresses_are_named_in_the_error() {
        for bad in ["", "ftp://a:1", "https://a:1", "a b:1"] {
            let error = pool(&["ok:1", bad]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(&format!("{bad:?}")), "{error}");
        }
        assert_eq!(pool(&[]).unwrap_err().kind(), ErrorKind::Config);
    }
}

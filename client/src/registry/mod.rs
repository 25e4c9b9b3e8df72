//! Service registry: registration and discovery of the instances of a service.
//!
//! A registration is a key on a lease: a crashed instance is removed when its lease ends. The
//! server evaluates selectors.

mod departure;
mod instance;
mod kept;
mod registration;
mod resolver;
#[cfg(test)]
mod tests;
mod view;
mod watch;

#[cfg(feature = "discovery")]
mod balance;

use std::{future::IntoFuture, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tenure_proto::v1::{DiscoverRequest, registry_client::RegistryClient};

pub use instance::{Instance, Selector};
pub use kept::KeptRegistration;
pub use registration::{Register, Registration};
pub use resolver::{EndpointView, Resolver};
pub use view::EndpointChange;
pub use watch::{EndpointWatch, WatchEndpoints};

#[cfg(feature = "discovery")]
pub use balance::{BalanceOptions, Balanced, Balancer};

use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::Client,
    duration::millis,
    error::{Error, Operation},
    id::Revision,
    response::Discovered,
};

/// Prefix of the keys of registrations, as the server lays them out.
const SERVICES: &str = "tenure.services";

/// The key of an instance.
fn key_of(service: &str, id: &str) -> Bytes {
    Bytes::from(format!("{SERVICES}/{service}/{id}"))
}

/// Registers instances and finds them. Made by [`Client::registry`].
#[derive(Debug, Clone)]
pub struct Registry {
    client: Client,
}

impl Registry {
    /// Registers an instance and renews its lease. It replaces an instance with the same id. See
    /// [`Register`] for its options, errors and cancel safety.
    pub fn register(&self, instance: Instance) -> Register {
        Register::new(self.client.clone(), instance)
    }

    /// The current instances of a service. See [`Discover`] for its options, errors and cancel
    /// safety.
    pub fn discover(&self, service: impl Into<String>, selector: Selector) -> Discover {
        let request = DiscoverRequest {
            service: service.into(),
            selector: Some(selector.0),
            ..DiscoverRequest::default()
        };
        Discover {
            client: self.client.clone(),
            request,
        }
    }

    /// Watches the instances of a service: the current ones first, then every change.
    ///
    /// # Errors
    /// When awaited: the errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future has no effect on the cluster.
    pub fn watch_endpoints(
        &self,
        service: impl Into<String>,
        selector: Selector,
    ) -> WatchEndpoints {
        WatchEndpoints::new(self.client.clone(), service.into(), selector)
    }

    /// Watches the instances of a service in the background, and keeps them in memory.
    ///
    /// # Panics
    /// Outside a runtime of tokio.
    pub fn resolver(&self, service: impl Into<String>, selector: Selector) -> Resolver {
        Resolver::start(self.client.clone(), service.into(), selector)
    }
}

impl Client {
    /// Registration and discovery of instances of services.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tenure::{Instance, Selector};
    ///
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let registry = client.registry();
    /// let instance = Instance::new("billing", "billing-7").endpoint("grpc", "10.0.0.7", 8443);
    /// let registration = registry.register(instance).ttl(Duration::from_secs(5)).await?;
    ///
    /// let found = registry.discover("billing", Selector::default()).await?;
    /// println!("{} are ready", found.registrations().len());
    ///
    /// registration.drain(Duration::from_secs(30)).await?;
    /// // ... finish what is under way ...
    /// registration.deregister().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry {
            client: self.clone(),
        }
    }
}

/// Request for the instances of a service. Made by [`Registry::discover`].
///
/// # Errors
/// When awaited: [`Unavailable`](crate::ErrorKind::Unavailable) when the state of the server is
/// older than [`max_staleness`](Self::max_staleness) allows, or
/// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) when that of every server is, until the
/// timeout, and the errors common to all calls.
///
/// # Cancel safety
/// Cancel safe: the call only reads.
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Discover {
    client: Client,
    request: DiscoverRequest,
}

impl Discover {
    /// Serializable read: answers from the local state of the server, which may be stale, without
    /// confirming it with the quorum. [`Discovered::age`] bounds its age.
    pub fn serializable(mut self) -> Self {
        self.request.serializable = true;
        self
    }

    /// As [`serializable`](Self::serializable), but fails when the state may be older than `age`.
    pub fn max_staleness(mut self, age: Duration) -> Self {
        self.request.serializable = true;
        self.request.max_staleness_ms = millis(age);
        self
    }

    /// Makes the server wait until it has reached this revision, for example that of an earlier
    /// answer.
    pub fn at_least_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.request.at_least_revision = revision.into().get();
        self
    }
}

impl IntoFuture for Discover {
    type Output = Result<Discovered, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = Call::tenure(Operation::Read, Lane::Calls);
            let found = rpc!(self.client, call, RegistryClient.discover(self.request)).await?;
            Ok(Discovered::of(found))
        })
    }
}

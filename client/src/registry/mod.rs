//! Registrations: which instances of a service there are, and which of them want traffic.
//!
//! A registration is a key on a lease: an instance that dies is forgotten when its lease ends. The
//! server decides who is selected; nothing is filtered here.

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
    call::{Call, ask},
    channel::Lane,
    client::Client,
    duration::millis,
    error::{Error, Operation},
    id::Revision,
    response::Discovered,
};

/// Every registration is a key below this, as the server lays them out.
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
    /// Registers an instance and keeps its registration alive. It takes the place of an instance
    /// of the same name. See [`Register`] for its options, errors and cancel safety.
    pub fn register(&self, instance: Instance) -> Register {
        Register::new(self.client.clone(), instance)
    }

    /// The instances of a service at this moment. See [`Discover`] for its options, errors and
    /// cancel safety.
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

    /// The instances of a service as they are, then every change.
    ///
    /// # Errors
    /// When awaited: whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn watch_endpoints(
        &self,
        service: impl Into<String>,
        selector: Selector,
    ) -> WatchEndpoints {
        WatchEndpoints::new(self.client.clone(), service.into(), selector)
    }

    /// Follows the instances of a service in the background, and answers from memory.
    ///
    /// # Panics
    /// Outside a runtime of tokio.
    pub fn resolver(&self, service: impl Into<String>, selector: Selector) -> Resolver {
        Resolver::start(self.client.clone(), service.into(), selector)
    }
}

impl Client {
    /// Registrations of instances.
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

/// A question for the instances of a service. Made by [`Registry::discover`].
///
/// # Errors
/// When awaited: [`Unavailable`](crate::ErrorKind::Unavailable) when the state of the server is
/// older than [`max_staleness`](Self::max_staleness) allows, or
/// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) when that of every server is until time
/// is up, and whatever any call can meet.
///
/// # Cancel safety
/// Reads change nothing; drop the future at will.
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Discover {
    client: Client,
    request: DiscoverRequest,
}

impl Discover {
    /// Answers from the state of the server that is asked, which may be behind, instead of making
    /// sure that it is the latest. The answer says how old it may be; it comes without a quorum.
    pub fn serializable(mut self) -> Self {
        self.request.serializable = true;
        self
    }

    /// As [`serializable`](Self::serializable), but refuses when the state may be older than this.
    pub fn max_staleness(mut self, age: Duration) -> Self {
        self.request.serializable = true;
        self.request.max_staleness_ms = millis(age);
        self
    }

    /// Waits until the server has seen this revision: the one of an earlier answer, say.
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
            let found = ask!(self.client, call, RegistryClient.discover(self.request)).await?;
            Ok(Discovered::of(found))
        })
    }
}

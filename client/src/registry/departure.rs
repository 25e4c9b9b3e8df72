//! Draining and deregistering instances, by themselves or by an operator.

use std::time::Duration;

use tenure_proto::v1::{DeregisterRequest, DrainRequest, registry_client::RegistryClient};

use super::{Registry, instance::Instance};
use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::Client,
    duration::millis,
    error::{Error, Operation},
    id::Token,
    response::Header,
};

/// Grace period of the drain before a deregistration; takes effect only if the deregistration
/// fails.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// The instance to drain or deregister.
#[derive(Debug, Clone)]
pub(super) struct InstanceRef {
    service: String,
    id: String,
    /// Any incarnation unless given.
    incarnation: Option<Token>,
}

impl InstanceRef {
    /// One incarnation of an instance.
    pub(super) fn incarnation(instance: &Instance, incarnation: Token) -> Self {
        Self {
            service: instance.service().to_owned(),
            id: instance.id().to_owned(),
            incarnation: Some(incarnation),
        }
    }

    /// The incarnation as in the message.
    fn wire_incarnation(&self) -> i64 {
        self.incarnation.map_or(0, Token::get)
    }
}

/// Drains an instance, and deregisters it after the grace period.
pub(super) async fn drain(
    client: &Client,
    instance: InstanceRef,
    grace: Duration,
) -> Result<Header, Error> {
    let request = DrainRequest {
        incarnation: instance.wire_incarnation(),
        service: instance.service,
        id: instance.id,
        grace_ms: millis(grace),
        options: None,
    };
    let call = Call::tenure(Operation::Write, Lane::KeepAlive);
    let drained = rpc!(client, call, RegistryClient.drain(request)).await?;
    Ok(Header::of_tenure(drained.header).unwrap_or_default())
}

/// Deregisters an instance now.
pub(super) async fn deregister(client: &Client, instance: InstanceRef) -> Result<Header, Error> {
    let request = DeregisterRequest {
        incarnation: instance.wire_incarnation(),
        service: instance.service,
        id: instance.id,
        options: None,
    };
    let call = Call::tenure(Operation::Write, Lane::KeepAlive);
    let gone = rpc!(client, call, RegistryClient.deregister(request)).await?;
    Ok(Header::of_tenure(gone.header).unwrap_or_default())
}

impl Registry {
    /// Drains any instance: it receives no new traffic, and is deregistered after the grace period,
    /// at most a day. Without an `incarnation` it drains the registered one, which may be newer
    /// than the one the caller has seen. An instance drains itself by
    /// [`Registration::drain`](crate::Registration::drain).
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let registry = client.registry();
    /// registry.drain("billing", "billing-7", None, Duration::from_secs(30)).await?;
    /// // It is stuck: do not wait for the grace period.
    /// registry.deregister("billing", "billing-7", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when no such instance is registered,
    /// [`InstanceReplaced`](crate::ErrorKind::InstanceReplaced) when another incarnation is,
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a grace period of more than a
    /// day, and the errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it drains.
    pub async fn drain(
        &self,
        service: impl Into<String>,
        id: impl Into<String>,
        incarnation: Option<Token>,
        grace: Duration,
    ) -> Result<Header, Error> {
        let instance = InstanceRef {
            service: service.into(),
            id: id.into(),
            incarnation,
        };
        drain(&self.client, instance, grace).await
    }

    /// Deregisters any instance. Without an `incarnation` it is the registered one. A running
    /// instance sees its registration [lost](crate::Registration::lost), and one that is
    /// [kept](crate::Register::keep) does not register again, because it is drained first. Its
    /// lease and other keys attached to it stay.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when no such instance is registered,
    /// [`InstanceReplaced`](crate::ErrorKind::InstanceReplaced) when another incarnation is, and
    /// the errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is removed.
    pub async fn deregister(
        &self,
        service: impl Into<String>,
        id: impl Into<String>,
        incarnation: Option<Token>,
    ) -> Result<Header, Error> {
        let instance = InstanceRef {
            service: service.into(),
            id: id.into(),
            incarnation,
        };
        // Records the reason: a kept registration is not renewed after a drain.
        match drain(&self.client, instance.clone(), LEAVE_MAX).await {
            Err(error) if !error.outcome_unknown() => return Err(error),
            _ => {}
        }
        deregister(&self.client, instance).await
    }
}

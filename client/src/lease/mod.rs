//! Leases: the server deletes the keys attached to a lease unless it is renewed.
//!
//! Single calls are in this module; [`KeepAlive`] renews continuously.

mod keep_alive;
mod renewal;

use std::{future::IntoFuture, time::Duration};

use futures::{future::BoxFuture, stream};
use tenure_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, lease_client::LeaseClient,
};
use tonic::Status;

pub use keep_alive::{KeepAlive, LeaseLoss};
pub(crate) use renewal::Term;

use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::Client,
    conditions::{Conditions, impl_conditions},
    error::{Error, ErrorKind},
    id::LeaseId,
    response::{Header, Lease, LeaseTimeToLive, List},
};

/// etcd's text for a lease that does not exist, for the renewal response that reports this as a TTL
/// of zero.
const NOT_FOUND: &str = "etcdserver: requested lease not found";

/// Request to grant a lease. Made by [`Leases::grant`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Grant {
    client: Client,
    request: LeaseGrantRequest,
    conditions: Conditions,
}

impl_conditions!(Grant);

impl Grant {
    /// The id of the lease; the server chooses one unless set.
    pub fn id(mut self, id: LeaseId) -> Self {
        self.request.id = id.get();
        self
    }
}

impl IntoFuture for Grant {
    type Output = Result<Lease, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = Call::conditional(None, self.conditions);
            let granted = rpc!(self.client, call, LeaseClient.lease_grant(self.request)).await?;
            Ok(Lease::granted(granted))
        })
    }
}

/// Request to revoke a lease. Made by [`Leases::revoke`].
///
/// ```no_run
/// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
/// use std::time::Duration;
///
/// let lease = client.leases().grant(Duration::from_secs(10)).await?;
/// client.put("instances/a", "10.0.0.9:80").lease(lease.id()).await?;
/// client.leases().revoke(lease.id()).idempotency_key("stop instance a").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Revoke {
    client: Client,
    request: LeaseRevokeRequest,
    conditions: Conditions,
}

impl_conditions!(Revoke);

impl IntoFuture for Revoke {
    type Output = Result<Header, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = Call::conditional(None, self.conditions);
            let revoked = rpc!(self.client, call, LeaseClient.lease_revoke(self.request)).await?;
            Ok(Header::of(revoked.header).unwrap_or_default())
        })
    }
}

/// Request for the remaining time of a lease. Made by [`Leases::time_to_live`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct TimeToLive {
    client: Client,
    request: LeaseTimeToLiveRequest,
}

impl TimeToLive {
    /// Returns the keys attached to the lease as well.
    pub fn keys(mut self) -> Self {
        self.request.keys = true;
        self
    }
}

impl IntoFuture for TimeToLive {
    type Output = Result<LeaseTimeToLive, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = Call::read(None);
            let left = rpc!(
                self.client,
                call,
                LeaseClient.lease_time_to_live(self.request)
            )
            .await?;
            Ok(LeaseTimeToLive::of(left))
        })
    }
}

/// Leases of the cluster. Made by [`Client::leases`].
#[derive(Debug, Clone, Copy)]
pub struct Leases<'a> {
    client: &'a Client,
}

impl Client {
    /// Grants, renews, revokes and lists leases.
    #[must_use]
    pub fn leases(&self) -> Leases<'_> {
        Leases { client: self }
    }
}

impl Leases<'_> {
    /// Grants a lease that ends `ttl` after its last renewal. Fractions of seconds are rounded up,
    /// and the server raises a TTL below its minimum: [`Lease::ttl`] is the TTL in effect.
    ///
    /// # Errors
    /// When awaited: [`FailedPrecondition`](ErrorKind::FailedPrecondition) when the id is taken,
    /// [`NoSpace`](ErrorKind::NoSpace) at the quota, and the errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the lease exists; it expires if it does.
    pub fn grant(self, ttl: Duration) -> Grant {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl = i64::try_from(seconds).unwrap_or(i64::MAX);
        Grant {
            client: self.client.clone(),
            request: LeaseGrantRequest { ttl, id: 0 },
            conditions: Conditions::default(),
        }
    }

    /// Revokes a lease and deletes the keys attached to it.
    ///
    /// # Errors
    /// When awaited: [`NotFound`](ErrorKind::NotFound) for a lease that does not exist, and the
    /// errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the lease ends.
    pub fn revoke(self, id: LeaseId) -> Revoke {
        Revoke {
            client: self.client.clone(),
            request: LeaseRevokeRequest { id: id.get() },
            conditions: Conditions::default(),
        }
    }

    /// The remaining time of a lease and, if requested, the keys attached to it. For a lease that
    /// does not exist, [`remaining`](LeaseTimeToLive::remaining) is `None`.
    ///
    /// # Errors
    /// When awaited: the errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub fn time_to_live(self, id: LeaseId) -> TimeToLive {
        TimeToLive {
            client: self.client.clone(),
            request: LeaseTimeToLiveRequest {
                id: id.get(),
                keys: false,
            },
        }
    }

    /// The ids of all leases.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn list(self) -> Result<List<LeaseId>, Error> {
        let (call, request) = (Call::read(None), LeaseLeasesRequest {});
        let message = rpc!(self.client, call, LeaseClient.lease_leases(request)).await?;
        Ok(List::leases(message))
    }

    /// Renews a lease once.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for a lease that does not exist, and the errors common to
    /// all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the lease is renewed.
    pub async fn keep_alive_once(self, id: LeaseId) -> Result<Lease, Error> {
        let call = Call::stream(Lane::KeepAlive, None);
        let request = LeaseKeepAliveRequest { id: id.get() };
        let answer: LeaseKeepAliveResponse = self
            .client
            .run(call, request, |channel, request| async move {
                let request = request.map(|message| stream::iter([message]));
                let mut lease = LeaseClient::new(channel);
                let mut answers = lease.lease_keep_alive(request).await?.into_inner();
                let answer = answers.message().await?;
                answer.ok_or_else(|| Status::unavailable("the keep-alive stream was closed"))
            })
            .await?;
        if answer.ttl <= 0 {
            return Err(Error::local(ErrorKind::NotFound, NOT_FOUND));
        }
        Ok(Lease::renewed(answer))
    }

    /// Renews a lease for as long as the handle lives, and reports when it is lost. The future
    /// completes with the first renewal.
    ///
    /// The TTL is that of the response, which etcd's protocol rounds up to seconds. For TTLs with
    /// fractions of seconds, use a [`Session`](crate::Session) or a lock, which renew their own
    /// leases.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for a lease that does not exist, and the errors common to
    /// all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the lease was renewed.
    pub async fn keep_alive(self, id: LeaseId) -> Result<KeepAlive, Error> {
        KeepAlive::start(self.client.clone(), id).await
    }
}

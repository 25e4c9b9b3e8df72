//! Leases: a promise of the server to delete keys unless it is renewed.
//!
//! Single calls are here; renewing for as long as it takes is in [`KeepAlive`].

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
    call::{Call, ask},
    channel::Lane,
    client::Client,
    conditions::{Conditions, conditional},
    error::{Error, ErrorKind},
    id::LeaseId,
    response::{Header, Lease, LeaseTimeToLive, List},
};

/// etcd's text for a lease that does not exist, used where its answer says so without an error.
const NOT_FOUND: &str = "etcdserver: requested lease not found";

/// A lease to be granted. Made by [`Leases::grant`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Grant {
    client: Client,
    request: LeaseGrantRequest,
    conditions: Conditions,
}

conditional!(Grant);

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
            let granted = ask!(self.client, call, LeaseClient.lease_grant(self.request)).await?;
            Ok(Lease::granted(granted))
        })
    }
}

/// A lease to be ended. Made by [`Leases::revoke`].
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

conditional!(Revoke);

impl IntoFuture for Revoke {
    type Output = Result<Header, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = Call::conditional(None, self.conditions);
            let revoked = ask!(self.client, call, LeaseClient.lease_revoke(self.request)).await?;
            Ok(Header::of(revoked.header).unwrap_or_default())
        })
    }
}

/// A question for what is left of a lease. Made by [`Leases::time_to_live`].
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
            let left = ask!(
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
    /// Leases: granting, renewing and ending them.
    #[must_use]
    pub fn leases(&self) -> Leases<'_> {
        Leases { client: self }
    }
}

impl Leases<'_> {
    /// Grants a lease that ends `ttl` after its last renewal. Fractions of seconds are rounded up,
    /// and the server raises what is too short: the answer holds the TTL that counts.
    ///
    /// # Errors
    /// When awaited: [`FailedPrecondition`](ErrorKind::FailedPrecondition) when the id is taken,
    /// [`NoSpace`](ErrorKind::NoSpace) at the quota, and whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the lease exists; it ends by itself if it does.
    pub fn grant(self, ttl: Duration) -> Grant {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl = i64::try_from(seconds).unwrap_or(i64::MAX);
        Grant {
            client: self.client.clone(),
            request: LeaseGrantRequest { ttl, id: 0 },
            conditions: Conditions::default(),
        }
    }

    /// Ends a lease now and deletes the keys attached to it.
    ///
    /// # Errors
    /// When awaited: [`NotFound`](ErrorKind::NotFound) for a lease that does not exist, and
    /// whatever any call can meet.
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

    /// How long a lease has left, and on demand the keys attached to it. That the lease does not
    /// exist is no error: nothing is left of it then.
    ///
    /// # Errors
    /// When awaited: whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
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
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn list(self) -> Result<List<LeaseId>, Error> {
        let (call, request) = (Call::read(None), LeaseLeasesRequest {});
        let message = ask!(self.client, call, LeaseClient.lease_leases(request)).await?;
        Ok(List::leases(message))
    }

    /// Renews a lease once.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for a lease that does not exist, and whatever any call can
    /// meet.
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

    /// Renews a lease for as long as the handle lives, and tells when it is lost. The first renewal
    /// is done when the future is ready.
    ///
    /// The TTL is learned from the answer, which etcd's protocol rounds up to seconds. For a lease
    /// with fractions of seconds, hold on to what granted it: a [`Session`](crate::Session) or a
    /// lock renews its own lease.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for a lease that does not exist, and whatever any call can
    /// meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the lease was renewed.
    pub async fn keep_alive(self, id: LeaseId) -> Result<KeepAlive, Error> {
        KeepAlive::start(self.client.clone(), id).await
    }
}

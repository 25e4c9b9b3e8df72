//! The lock API of a client: requests for locks, inspection of queues, forced release.
//!
//! Defines requests only; [`claim`](crate::claim) acquires, keeps and releases claims.

use std::future::IntoFuture;

use futures::future::BoxFuture;
use tenure_proto::v1::{
    CheckTokenRequest, ForceReleaseRequest, InspectRequest, ListRequest, lock_client::LockClient,
};

use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    freshness::{Freshness, impl_at_least_revision},
    id::Token,
    lock::{LockRequest, RwLock, Semaphore, exclusive},
    range::IntoBytes,
    response::{Claim, List, LockList, LockQueue, TokenCheck},
};

/// Locks of the cluster, and claims on elections. Made by [`Client::locks`].
#[derive(Debug, Clone, Copy)]
pub struct Locks<'a> {
    client: &'a Client,
}

impl Client {
    /// Locks with fencing tokens: exclusive, several at once, shared, counted.
    #[must_use]
    pub fn locks(&self) -> Locks<'_> {
        Locks { client: self }
    }
}

impl Locks<'_> {
    /// Requests an exclusive lock. See [`LockRequest`] for its options, errors and cancel safety.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let guard = client
    ///     .locks()
    ///     .acquire("jobs/42")
    ///     .ttl(Duration::from_millis(1500))
    ///     .wait(Duration::from_secs(5))
    ///     .principal("worker-3")
    ///     .await?;
    /// guard.guarded().put("state/jobs/42", "running").await?;
    /// guard.release().await?;
    ///
    /// if let Some(guard) = client.locks().acquire("jobs/43").try_now().await? {
    ///     println!("it was free; our token is {}", guard.token());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire(self, name: impl IntoBytes) -> LockRequest {
        LockRequest::new(self.client.clone(), vec![name.into_bytes()], exclusive())
    }

    /// Requests several locks atomically: it holds all of them or none, so two requests for the
    /// same locks in different order cannot deadlock.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let both = client.locks().acquire_all(["accounts/a", "accounts/b"]).await?;
    /// println!("{:?} and {:?}", both.token_of("accounts/a"), both.token_of("accounts/b"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire_all<N: IntoBytes>(self, names: impl IntoIterator<Item = N>) -> LockRequest {
        let names = names.into_iter().map(IntoBytes::into_bytes).collect();
        LockRequest::new(self.client.clone(), names, exclusive())
    }

    /// A read-write lock.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let catalog = client.locks().rw_lock("catalog");
    /// let reading = catalog.read().await?;
    /// reading.release().await?;
    /// let writing = catalog.write().await?;
    /// writing.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn rw_lock(self, name: impl IntoBytes) -> RwLock {
        RwLock::new(self.client.clone(), name.into_bytes())
    }

    /// A semaphore of `limit` permits. All requests must name the same limit; one with another
    /// limit is refused.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let slots = client.locks().semaphore("uploads", 8);
    /// let two = slots.acquire(2).await?;
    /// two.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn semaphore(self, name: impl IntoBytes, limit: u32) -> Semaphore {
        Semaphore::new(self.client.clone(), name.into_bytes(), limit)
    }

    /// The holders and waiters of a lock or an election. See [`InspectLock`] for its options.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let queue = client.locks().inspect("jobs/42").limit(10).await?;
    /// for holder in queue.holders() {
    ///     println!("{} holds with token {}", holder.principal(), holder.token());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When awaited: the errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub fn inspect(self, name: impl IntoBytes) -> InspectLock {
        InspectLock {
            client: self.client.clone(),
            request: InspectRequest {
                name: name.into_bytes(),
                limit: 0,
            },
            freshness: Freshness::default(),
        }
    }

    /// The locks and elections below a prefix that have claims. See [`ListLocks`] for its options.
    ///
    /// # Errors
    /// When awaited: the errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub fn list(self, prefix: impl IntoBytes) -> ListLocks {
        ListLocks {
            client: self.client.clone(),
            request: ListRequest {
                prefix: prefix.into_bytes(),
                limit: 0,
            },
            freshness: Freshness::default(),
        }
    }

    /// Checks whether a token holds a lock or an election, and returns the holder. For resources
    /// that cannot remember tokens: the answer may be outdated when it arrives, so prefer a guard
    /// or a [fence](crate::fence).
    ///
    /// # Errors
    /// When awaited: the errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub fn check_token(self, name: impl IntoBytes, token: impl Into<Token>) -> CheckToken {
        CheckToken {
            client: self.client.clone(),
            request: CheckTokenRequest {
                name: name.into_bytes(),
                token: token.into().get(),
            },
            freshness: Freshness::default(),
        }
    }

    /// Ends claims of other clients: every claim that holds, or the one with the token set by
    /// [`ForceRelease::token`]. The next claim is granted at once, while the former holder may
    /// still act as holder until it is notified, so only writes that check tokens are safe. The
    /// reason is written to the audit log of every member.
    ///
    /// # Errors
    /// When awaited: [`NotHolder`](crate::ErrorKind::NotHolder) when there is no such claim, and
    /// the errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the claims are ended.
    pub fn force_release(self, name: impl IntoBytes, reason: impl Into<String>) -> ForceRelease {
        ForceRelease {
            client: self.client.clone(),
            request: ForceReleaseRequest {
                name: name.into_bytes(),
                token: 0,
                reason: reason.into(),
                options: None,
            },
        }
    }
}

/// Request for the queue of a lock or an election. Made by [`Locks::inspect`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct InspectLock {
    client: Client,
    request: InspectRequest,
    freshness: Freshness,
}

impl InspectLock {
    /// Returns at most this many waiting claims; a hundred unless set.
    pub fn limit(mut self, waiters_max: u32) -> Self {
        self.request.limit = waiters_max;
        self
    }
}

/// Request for the locks below a prefix. Made by [`Locks::list`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct ListLocks {
    client: Client,
    request: ListRequest,
    freshness: Freshness,
}

impl ListLocks {
    /// Returns at most this many locks; a thousand unless set.
    pub fn limit(mut self, locks_max: u32) -> Self {
        self.request.limit = locks_max;
        self
    }
}

/// Request to check a token. Made by [`Locks::check_token`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct CheckToken {
    client: Client,
    request: CheckTokenRequest,
    freshness: Freshness,
}

/// Request to end claims of other clients. Made by [`Locks::force_release`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct ForceRelease {
    client: Client,
    request: ForceReleaseRequest,
}

impl ForceRelease {
    /// Ends only the claim with this token.
    pub fn token(mut self, token: impl Into<Token>) -> Self {
        self.request.token = token.into().get();
        self
    }
}

impl IntoFuture for ForceRelease {
    type Output = Result<List<Claim>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = Call::tenure(Operation::Write, Lane::Calls);
            let released = rpc!(self.client, call, LockClient.force_release(self.request)).await?;
            Ok(List::released(released))
        })
    }
}

/// Implements freshness and sending for a read request about locks.
macro_rules! impl_read_request {
    ($request:ty, $method:ident, $response:ident) => {
        impl_at_least_revision!($request);

        impl IntoFuture for $request {
            type Output = Result<$response, Error>;
            type IntoFuture = BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(async move {
                    let call =
                        Call::tenure(Operation::Read, Lane::Calls).with_freshness(self.freshness);
                    let answer = rpc!(self.client, call, LockClient.$method(self.request)).await?;
                    Ok($response::of(answer))
                })
            }
        }
    };
}

impl_read_request!(InspectLock, inspect, LockQueue);
impl_read_request!(ListLocks, list, LockList);
impl_read_request!(CheckToken, check_token, TokenCheck);

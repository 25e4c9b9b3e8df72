//! What is done with locks from a client: acquiring them, looking at their queues from outside, and
//! ending what others hold.
//!
//! Requests are described here; how a claim is acquired, kept and released is the subject of
//! [`claim`](crate::claim).

use std::future::IntoFuture;

use futures::future::BoxFuture;
use tenure_proto::v1::{
    CheckTokenRequest, ForceReleaseRequest, InspectRequest, ListRequest, lock_client::LockClient,
};

use crate::{
    call::{Call, ask},
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    freshness::{Freshness, at_least},
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
    /// Requests a lock that is held by one at a time. See [`LockRequest`] for its options, errors
    /// and cancel safety.
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

    /// Requests several locks, all of them or none: while one is missing, none is held, so two
    /// requests for the same ones in another order cannot block each other.
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

    /// A lock that several readers or one writer hold.
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

    /// A lock of `limit` permits. All requests must name the same limit; one that names another is
    /// refused.
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

    /// Who holds a lock or an election, and who waits. See [`InspectLock`] for its options.
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
    /// When awaited: whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
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
    /// When awaited: whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
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

    /// Whether a token holds a lock or an election at this moment, and who does. For a resource
    /// that cannot remember tokens: by the time the answer is there it may be over, so a guard or
    /// a [fence](crate::fence) is better where there can be one.
    ///
    /// # Errors
    /// When awaited: whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
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

    /// Ends claims of others: every claim that holds, or the one with the token given by
    /// [`ForceRelease::token`]. The next in line has the lock at once, while the former holder may
    /// still believe that it does, so only what checks tokens is safe. The reason is written to
    /// the audit log of every member.
    ///
    /// # Errors
    /// When awaited: [`NotHolder`](crate::ErrorKind::NotHolder) when there is no such claim, and
    /// whatever any call can meet.
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

/// A question for the queue of a lock or an election. Made by [`Locks::inspect`].
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

/// A question for the locks below a prefix. Made by [`Locks::list`].
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

/// A question for the holder of a token. Made by [`Locks::check_token`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct CheckToken {
    client: Client,
    request: CheckTokenRequest,
    freshness: Freshness,
}

/// Claims to be ended. Made by [`Locks::force_release`].
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
            let released = ask!(self.client, call, LockClient.force_release(self.request)).await?;
            Ok(List::released(released))
        })
    }
}

/// Sends a question about locks when it is awaited.
macro_rules! asked {
    ($request:ty, $method:ident, $response:ident) => {
        at_least!($request);

        impl IntoFuture for $request {
            type Output = Result<$response, Error>;
            type IntoFuture = BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(async move {
                    let call = Call::tenure(Operation::Read, Lane::Calls).fresh(self.freshness);
                    let answer = ask!(self.client, call, LockClient.$method(self.request)).await?;
                    Ok($response::of(answer))
                })
            }
        }
    };
}

asked!(InspectLock, inspect, LockQueue);
asked!(ListLocks, list, LockList);
asked!(CheckToken, check_token, TokenCheck);

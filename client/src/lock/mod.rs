//! Locks: exclusive, shared and counted, first come first served, with fencing tokens.
//!
//! The requests and handles of locks are here; acquiring, keeping and releasing a claim is the
//! subject of [`claim`](crate::claim), and the server decides which claim holds.

mod acquire;
mod guard;
mod inspect;
mod modes;
mod request;
mod try_acquire;

#[cfg(test)]
mod tests;

use tenure_proto::v1::{Mode, mode::Kind};

pub use guard::LockGuard;
pub use modes::{RwLock, Semaphore};
pub use request::LockRequest;
#[cfg(test)]
pub(crate) use try_acquire::TryAcquire;

use crate::{client::Client, range::IntoBytes};

impl Client {
    /// Requests a lock that is held by one at a time. See [`LockRequest`] for its options, errors
    /// and cancel safety.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let guard = client
    ///     .lock("jobs/42")
    ///     .ttl(Duration::from_millis(1500))
    ///     .wait(Duration::from_secs(5))
    ///     .principal("worker-3")
    ///     .await?;
    /// guard.guarded().put("state/jobs/42", "running").await?;
    /// guard.release().await?;
    ///
    /// if let Some(guard) = client.lock("jobs/43").try_now().await? {
    ///     println!("it was free; our token is {}", guard.token());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock(&self, name: impl IntoBytes) -> LockRequest {
        LockRequest::new(self.clone(), vec![name.into_bytes()], exclusive())
    }

    /// Requests several locks, all of them or none: while one is missing, none is held, so two
    /// requests for the same ones in another order cannot block each other.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let both = client.lock_all(["accounts/a", "accounts/b"]).await?;
    /// println!("{:?} and {:?}", both.token_of("accounts/a"), both.token_of("accounts/b"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock_all<N: IntoBytes>(&self, names: impl IntoIterator<Item = N>) -> LockRequest {
        let names = names.into_iter().map(IntoBytes::into_bytes).collect();
        LockRequest::new(self.clone(), names, exclusive())
    }

    /// A lock that several readers or one writer hold.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let catalog = client.rw_lock("catalog");
    /// let reading = catalog.read().await?;
    /// reading.release().await?;
    /// let writing = catalog.write().await?;
    /// writing.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn rw_lock(&self, name: impl IntoBytes) -> RwLock {
        RwLock::new(self.clone(), name.into_bytes())
    }

    /// A lock of `limit` permits. All requests must name the same limit; one that names another is
    /// refused.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let slots = client.semaphore("uploads", 8);
    /// let two = slots.acquire(2).await?;
    /// two.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn semaphore(&self, name: impl IntoBytes, limit: u32) -> Semaphore {
        Semaphore::new(self.clone(), name.into_bytes(), limit)
    }
}

fn exclusive() -> Mode {
    Mode {
        kind: Some(Kind::Exclusive(true)),
    }
}

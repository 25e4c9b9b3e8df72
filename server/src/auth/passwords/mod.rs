//! Passwords: hashing with bcrypt, and verification of log-ins.
//!
//! Hashing takes tens of milliseconds on purpose, so it happens on a few threads of low priority
//! behind a bounded queue: a storm of log-ins delays no heartbeat. A log-in that succeeded is
//! remembered, so that clients which log in again cost a SHA-256 each. Wrong ones are limited by
//! user and peer. A user that does not exist costs as much as one that does.
//!
//! Does not know users: the caller reads the hash from the state and stores new ones.

mod hash;
mod limits;
mod pool;
mod queue;
mod successes;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use thiserror::Error;

pub use self::hash::{HashFault, PasswordHash};
use self::{hash::Hasher, limits::Limits, pool::Pool, queue::Claimant, successes::Successes};
use super::{Entropy, Password};
use crate::{clock::Clock, metrics::AuthMetrics};

/// Hint to a client that found the queue full. A quarter of a full queue is gone by then.
const BUSY_RETRY: Duration = Duration::from_millis(500);

/// Verifies and hashes passwords. Dropping it ends its threads after the work in progress.
#[derive(Debug)]
pub struct Passwords {
    pool: Pool,
    hasher: Arc<Hasher>,
    successes: Arc<Successes>,
    limits: Limits,
    metrics: AuthMetrics,
}

/// One attempt to log in.
#[derive(Debug)]
pub struct Login<'a> {
    /// The name, as the client sent it.
    pub user: &'a str,
    /// The address of the client.
    pub peer: Option<IpAddr>,
    /// The hash in the state; `None` if there is no such user, or it has no password.
    pub hash: Option<&'a str>,
    /// The password, as the client sent it.
    pub password: Password,
}

/// Why a log-in is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LoginFault {
    /// The user does not exist, has no password, or has another one.
    #[error("the user name or the password is wrong")]
    Wrong,
    /// Too many passwords wait to be hashed.
    #[error("too many passwords wait to be hashed")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many wrong passwords for this user from this peer.
    #[error("too many wrong passwords for this user from this address")]
    TooManyWrong {
        /// When the next attempt is allowed.
        retry_after: Duration,
    },
    /// Too many wrong passwords from this peer, from which this user has not logged in before.
    #[error("too many wrong passwords from this address")]
    TooManyWrongThere {
        /// When the next attempt is allowed.
        retry_after: Duration,
    },
}

/// Why a password is not hashed: too many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many passwords wait to be hashed")]
pub struct HashingBusy {
    /// When to try again.
    pub retry_after: Duration,
}

impl Passwords {
    /// Starts the threads. `cost` is bcrypt's, within its bounds.
    ///
    /// # Errors
    /// The operating system cannot create a thread.
    pub fn start(
        cost: u32,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: AuthMetrics,
    ) -> io::Result<Self> {
        Ok(Self {
            pool: Pool::start(metrics.clone())?,
            hasher: Arc::new(Hasher::new(cost, Arc::clone(&entropy))),
            successes: Arc::new(Successes::new(entropy)),
            limits: Limits::new(clock),
            metrics,
        })
    }

    /// The text to store for a new password. `peer` is the client's address.
    ///
    /// # Errors
    /// Too many passwords wait.
    ///
    /// # Cancel safety
    /// Cancel safe: a password that is not yet hashed is dropped.
    pub async fn hash(
        &self,
        peer: Option<IpAddr>,
        password: Password,
    ) -> Result<String, HashingBusy> {
        let hasher = Arc::clone(&self.hasher);
        // Who sets passwords has logged in, and is none of those who log in.
        let claimant = Claimant {
            peer,
            user: [0; 16],
            is_known: true,
        };
        let hashed = self.pool.run(claimant, move || hasher.hash(&password));
        let hashed = hashed.await;
        hashed.map_err(|_| {
            self.metrics.busy.inc();
            HashingBusy {
                retry_after: BUSY_RETRY,
            }
        })
    }

    /// Verifies a password against its hash.
    ///
    /// # Errors
    /// See [`LoginFault`].
    ///
    /// # Cancel safety
    /// Cancel safe: a password that is not yet looked at is dropped. One that is being hashed
    /// counts as an attempt.
    pub async fn verify(&self, login: Login<'_>) -> Result<(), LoginFault> {
        let Login {
            user,
            peer,
            hash,
            password,
        } = login;
        // Before the cache, which would otherwise let passwords be guessed at the speed of SHA-256.
        let attempt = self.limits.admit(user, peer).inspect_err(|_| {
            self.metrics.limited.inc();
        })?;
        if let Some(hash) = hash
            && self.successes.holds(user, hash, &password)
        {
            self.metrics.remembered.inc();
            self.limits.is_there(&attempt);
            return Ok(());
        }
        let (hasher, wanted) = (Arc::clone(&self.hasher), hash.map(str::to_owned));
        let verified = self.pool.run(attempt.claimant(), move || {
            let matches = hasher.verify(wanted.as_deref(), &password);
            (matches, password)
        });
        let Ok((matches, password)) = verified.await else {
            self.metrics.busy.inc();
            return Err(LoginFault::Busy {
                retry_after: BUSY_RETRY,
            });
        };
        match hash.filter(|_| matches) {
            Some(hash) => {
                self.metrics.hashed.inc();
                self.limits.succeeded(&attempt);
                self.successes.remember(user, hash, &password);
                Ok(())
            }
            None => {
                self.metrics.wrong.inc();
                self.limits.failed(attempt);
                Err(LoginFault::Wrong)
            }
        }
    }

    /// Forgets the remembered log-in of a user whose password changed or who is gone. An outdated
    /// one is useless anyway, because it names the hash; this frees it.
    pub fn forget(&self, user: &str) {
        self.successes.forget(user);
    }
}

#[cfg(test)]
mod tests;

//! Log-ins that succeeded, so that the same one need not be hashed again.
//!
//! Of a password only a salted SHA-256 is kept, under a salt of its own, and with it the hash that
//! it matched: an entry is good for that hash alone, so a changed password ends it without a
//! message.
//!
//! Invariant: the cache is bounded, and what it keeps of passwords is zeroed.

use std::sync::Arc;

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::super::{Entropy, Password};

/// Users whose latest log-in is remembered, at two hundred bytes each: more than log in within the
/// lifetime of a token on most clusters. Others are hashed again.
const USERS_MAX: usize = 10_000;

const SALT_BYTES: usize = 16;

/// The latest successful log-in of each user.
#[derive(Debug)]
pub(super) struct Successes {
    entropy: Arc<dyn Entropy>,
    known: Cache<Box<str>, Arc<Success>>,
}

/// One log-in.
struct Success {
    /// SHA-256 of the text that the password matched.
    hash: [u8; 32],
    salt: [u8; SALT_BYTES],
    /// SHA-256 of salt and password.
    digest: Zeroizing<[u8; 32]>,
}

impl Successes {
    pub(super) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self {
            entropy,
            known: Cache::new(USERS_MAX),
        }
    }

    /// Whether this password matched this hash before.
    pub(super) fn holds(&self, user: &str, hash: &str, password: &Password) -> bool {
        let Some(success) = self.known.get(user) else {
            return false;
        };
        let presented = digest(&success.salt, password);
        let same = presented.ct_eq(&success.digest[..]);
        bool::from(same) && success.hash == sha256(hash)
    }

    /// Remembers that this password matches this hash.
    pub(super) fn remember(&self, user: &str, hash: &str, password: &Password) {
        let mut salt = [0; SALT_BYTES];
        self.entropy.fill(&mut salt);
        let success = Success {
            hash: sha256(hash),
            salt,
            digest: digest(&salt, password),
        };
        self.known.insert(user.into(), Arc::new(success));
    }

    pub(super) fn forget(&self, user: &str) {
        self.known.remove(user);
    }
}

impl std::fmt::Debug for Success {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Success(…)")
    }
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn digest(salt: &[u8], password: &Password) -> Zeroizing<[u8; 32]> {
    let hasher = Sha256::new_with_prefix(salt).chain_update(password.bytes());
    Zeroizing::new(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fake::CountingEntropy;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned()).unwrap()
    }

    fn successes() -> Successes {
        Successes::new(Arc::new(CountingEntropy::default()))
    }

    #[test]
    fn a_log_in_is_remembered_for_its_user_password_and_hash() {
        let it = successes();
        it.remember("alice", "hash", &password("secret"));
        assert!(it.holds("alice", "hash", &password("secret")));
        assert!(!it.holds("alice", "hash", &password("Secret")));
        assert!(!it.holds("alice", "changed", &password("secret")));
        assert!(!it.holds("bob", "hash", &password("secret")));
        it.forget("alice");
        assert!(!it.holds("alice", "hash", &password("secret")));
    }

    #[test]
    fn a_later_password_replaces_an_earlier_one() {
        let it = successes();
        it.remember("alice", "one", &password("first"));
        it.remember("alice", "two", &password("second"));
        assert!(!it.holds("alice", "one", &password("first")));
        assert!(it.holds("alice", "two", &password("second")));
    }

    #[test]
    fn equal_passwords_of_two_users_leave_different_digests() {
        let it = successes();
        it.remember("alice", "hash", &password("secret"));
        it.remember("bob", "hash", &password("secret"));
        let digest = |user| it.known.get(user).unwrap().digest.clone();
        assert_ne!(digest("alice"), digest("bob"));
    }

    #[test]
    fn the_cache_is_bounded() {
        let it = successes();
        for number in 0..USERS_MAX * 2 {
            it.remember(&number.to_string(), "hash", &password("secret"));
        }
        assert!(it.known.len() <= USERS_MAX + USERS_MAX / 4);
    }
}

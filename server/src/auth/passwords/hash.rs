//! Hashes of passwords in the text form of bcrypt, interchangeable with etcd's.

use std::{fmt, sync::Arc};

use bcrypt::Version;
use thiserror::Error;

use super::super::{Entropy, Password};

/// Highest cost of a hash that is verified when the configured one is lower. It takes ten seconds;
/// a hash of the highest cost that bcrypt has would occupy a thread for days.
const COST_MAX: u32 = 17;

/// Bytes of a salt.
const SALT_BYTES: usize = 16;

/// Characters of a hash: `$2a$10$`, 22 of salt, 31 of digest.
const HASH_BYTES: usize = 60;

/// A hash that a client made and wants stored, in bcrypt's text form. Checked before it is stored,
/// because one that cannot be verified would lock the user out.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// Why a hash cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HashFault {
    /// It is not bcrypt's text form.
    #[error("the hash is not one of bcrypt")]
    Malformed,
    /// It would take too long to verify.
    #[error("the cost of the hash is above {0}")]
    TooCostly(u32),
}

impl PasswordHash {
    /// Checks a hash.
    ///
    /// # Errors
    /// See [`HashFault`].
    pub fn parse(text: &str) -> Result<Self, HashFault> {
        if cost(text).ok_or(HashFault::Malformed)? > COST_MAX {
            return Err(HashFault::TooCostly(COST_MAX));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text to store.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(…)")
    }
}

/// Makes and verifies hashes.
pub(super) struct Hasher {
    cost: u32,
    entropy: Arc<dyn Entropy>,
    /// Verified in place of the hash of a user without one, so that it takes as long. No password
    /// has it: its digest is random.
    decoy: String,
}

impl Hasher {
    pub(super) fn new(cost: u32, entropy: Arc<dyn Entropy>) -> Self {
        let letter = |byte: u8| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]);
        let mut random = [0; HASH_BYTES - 7];
        entropy.fill(&mut random);
        let mut tail: Vec<char> = random.into_iter().map(letter).collect();
        // The last characters of salt and digest hold fewer than six bits.
        tail[21] = '.';
        tail[52] = '.';
        Self {
            cost,
            entropy,
            decoy: format!("$2a${cost:02}${}", String::from_iter(tail)),
        }
    }

    /// Hashes a new password.
    pub(super) fn hash(&self, password: &Password) -> String {
        let mut salt = [0; SALT_BYTES];
        self.entropy.fill(&mut salt);
        let parts = bcrypt::hash_with_salt(password.bytes(), self.cost, salt)
            .expect("invariant: the cost is checked when settings are read");
        // The version that Go writes.
        parts.format_for_version(Version::TwoA)
    }

    /// Whether the password has this hash; always false without one. Takes as long in every case,
    /// unless the hash has another cost.
    pub(super) fn verify(&self, hash: Option<&str>, password: &Password) -> bool {
        let limit = self.cost.max(COST_MAX);
        let usable = hash.filter(|hash| cost(hash).is_some_and(|cost| cost <= limit));
        let matches = bcrypt::verify(password.bytes(), usable.unwrap_or(&self.decoy));
        matches.unwrap_or(false) && usable.is_some()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hasher")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// bcrypt's alphabet of base64.
const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The cost in a hash; `None` if it is not one.
fn cost(hash: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|version| hash.strip_prefix(version))?;
    let (cost, rest) = rest.split_once('$')?;
    let digits = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    let letters = hash.len() == HASH_BYTES && rest.bytes().all(|byte| ALPHABET.contains(&byte));
    let cost = cost.parse().ok().filter(|cost| (4..=31).contains(cost));
    cost.filter(|_| digits && letters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fake::CountingEntropy;

    /// Made by etcd 3.4.23, which is written in Go, of the password `rootpw`.
    const BY_ETCD: &str = "$2a$04$oveXxm5ZsMeLgBCIdqt2AehAjOPPwewn3w4a4HImP3fmpE3b/i3we";

    fn hasher() -> Hasher {
        Hasher::new(4, Arc::new(CountingEntropy::default()))
    }

    fn password(text: &str) -> Password {
        Password::new(text.to_owned()).unwrap()
    }

    #[test]
    fn a_password_matches_its_own_hash_alone() {
        let hasher = hasher();
        for text in ["secret", "", "p\0q", &"x".repeat(72), "Ümläut"] {
            let hash = hasher.hash(&password(text));
            assert!(hash.starts_with("$2a$04$") && hash.len() == 60, "{hash}");
            assert!(hasher.verify(Some(&hash), &password(text)), "{text:?}");
            assert!(!hasher.verify(Some(&hash), &password("other")));
        }
        let long = hasher.hash(&password(&"x".repeat(72)));
        let shorter = password(&"x".repeat(71));
        assert!(!hasher.verify(Some(&long), &shorter), "all bytes count");
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        let hasher = hasher();
        let hash = || hasher.hash(&password("secret"));
        assert_ne!(hash(), hash());
    }

    #[test]
    fn hashes_of_etcd_and_of_other_tools_are_verified() {
        let hasher = hasher();
        assert!(hasher.verify(Some(BY_ETCD), &password("rootpw")));
        assert!(!hasher.verify(Some(BY_ETCD), &password("rootpx")));
        for version in ["$2b$", "$2y$"] {
            let hash = BY_ETCD.replacen("$2a$", version, 1);
            assert!(hasher.verify(Some(&hash), &password("rootpw")), "{version}");
        }
    }

    #[test]
    fn without_a_usable_hash_the_decoy_is_verified_and_matches_nothing() {
        let hasher = hasher();
        assert_eq!(
            cost(&hasher.decoy),
            Some(4),
            "it is a hash: {}",
            hasher.decoy
        );
        let decoyed = bcrypt::verify("secret", &hasher.decoy);
        assert!(!decoyed.unwrap(), "it takes the whole work");
        let costly = BY_ETCD.replacen("$04$", "$31$", 1);
        for hash in [None, Some(""), Some("$2a$04$"), Some("md5"), Some(&costly)] {
            assert!(!hasher.verify(hash, &password("rootpw")), "{hash:?}");
        }
    }

    #[test]
    fn only_hashes_that_can_be_verified_are_taken_over() {
        assert_eq!(PasswordHash::parse(BY_ETCD).unwrap().into_text(), BY_ETCD);
        let long = format!("{BY_ETCD}.");
        let odd = BY_ETCD.replacen("$04$", "$4$.", 1);
        for bad in ["", "secret", &BY_ETCD[1..], &long, &odd, &BY_ETCD[..59]] {
            assert_eq!(PasswordHash::parse(bad), Err(HashFault::Malformed), "{bad}");
        }
        for (cost, taken) in [("03", false), ("17", true), ("18", false), ("32", false)] {
            let hash = BY_ETCD.replacen("04", cost, 1);
            assert_eq!(PasswordHash::parse(&hash).is_ok(), taken, "{hash}");
        }
        let hash = PasswordHash::parse(BY_ETCD).unwrap();
        assert!(!format!("{hash:?}").contains("$2a"), "hashes are not shown");
    }
}

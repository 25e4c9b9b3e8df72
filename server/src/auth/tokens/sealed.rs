//! The sealed form of tokens: what they say, and an HMAC-SHA256 over it with the cluster's secret.
//!
//! Text: the head, a dot, and the base64 (URL alphabet, without padding) of content and seal. The
//! seal also covers the head, which tells the provider's tokens apart.
//!
//! | bytes of the content | |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | time in milliseconds of cluster time, big-endian; its meaning is the provider's |
//! | 8 | generation of the password, big-endian |
//! | rest | name of the user, UTF-8, not empty |
//!
//! Nothing in it is secret. Invariant: the seal is compared in constant time, and before the
//! content is looked at.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use tenure_statemachine::ClusterTime;
use zeroize::Zeroizing;

use super::{PasswordGeneration, TokenFault};

/// Bytes of the secret: as many as the hash has, which is the least that HMAC asks for.
pub const SECRET_BYTES: usize = 32;

/// Bytes of the seal.
const SEAL_BYTES: usize = 32;

/// Bytes of the content before the name.
const FIXED_BYTES: usize = 17;

/// The version of the content.
const VERSION: u8 = 1;

/// First of what the seal covers, so that the secret can never seal anything else by mistake.
const PURPOSE: &[u8] = b"tenure token\0";

/// The secret that seals the tokens of one cluster: made when authentication is enabled, replaced
/// when it is disabled.
#[derive(Clone)]
pub struct TokenSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl TokenSecret {
    /// The secret of these bytes, which must be random.
    #[must_use]
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret as it is kept in the state; `None` for another number of bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::new)
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0[..])
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenSecret(…)")
    }
}

/// What a sealed token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) time: ClusterTime,
    pub(super) generation: PasswordGeneration,
    pub(super) user: String,
}

/// The text of a token with this head, which holds no dot.
pub(super) fn seal(head: &str, content: &Content, secret: &TokenSecret) -> String {
    let mut bytes = Vec::with_capacity(FIXED_BYTES + content.user.len() + SEAL_BYTES);
    bytes.push(VERSION);
    bytes.extend(content.time.0.to_be_bytes());
    bytes.extend(content.generation.0.to_be_bytes());
    bytes.extend(content.user.as_bytes());
    let seal = hmac::sign(&secret.key(), &covered(head, &bytes));
    bytes.extend(seal.as_ref());
    format!("{head}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Head and content of a token whose seal is good.
///
/// # Errors
/// `Malformed` before any computation, or `Forged`.
pub(super) fn open<'a>(
    token: &'a str,
    secret: &TokenSecret,
) -> Result<(&'a str, Content), TokenFault> {
    let (head, body) = token.split_once('.').ok_or(TokenFault::Malformed)?;
    let decoded = URL_SAFE_NO_PAD.decode(body);
    let bytes = decoded.map_err(|_| TokenFault::Malformed)?;
    let (bytes, seal) = bytes
        .split_last_chunk::<SEAL_BYTES>()
        .ok_or(TokenFault::Malformed)?;
    let verified = hmac::verify(&secret.key(), &covered(head, bytes), seal);
    verified.map_err(|_| TokenFault::Forged)?;
    let content = content(bytes).ok_or(TokenFault::Malformed)?;
    Ok((head, content))
}

fn content(bytes: &[u8]) -> Option<Content> {
    let (&version, bytes) = bytes.split_first()?;
    let (time, bytes) = bytes.split_first_chunk()?;
    let (generation, user) = bytes.split_first_chunk()?;
    if version != VERSION || user.is_empty() {
        return None;
    }
    Some(Content {
        time: ClusterTime(u64::from_be_bytes(*time)),
        generation: PasswordGeneration(u64::from_be_bytes(*generation)),
        user: str::from_utf8(user).ok()?.to_owned(),
    })
}

/// What the seal covers. A zero ends the head, which holds none.
fn covered(head: &str, bytes: &[u8]) -> Vec<u8> {
    [PURPOSE, head.as_bytes(), b"\0", bytes].concat()
}

//! `jwt`: JSON web tokens, with etcd's claims `username`, `revision` and `exp`.
//!
//! A member with only the public key verifies tokens and issues none. Only `exp` depends on the
//! wall clock. A token without an end is refused.
//!
//! Invariant: `alg` in a token selects nothing. It must be the configured method, so a token can
//! neither ask for no signature nor use a public key as a shared one.

mod key;
mod pem;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Number;

pub use self::key::JwtFault;
use self::key::Keys;
use super::{AuthRevision, Basis, MintFault, Subject, TokenClaims, TokenFault};
use crate::{
    clock::WallClock,
    config::{JwtMethod, JwtOptions},
};

/// Issues and verifies JSON web tokens.
#[derive(Debug)]
pub(super) struct Jwt {
    method: JwtMethod,
    ttl: Duration,
    keys: Keys,
    wall_clock: Arc<dyn WallClock>,
}

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
}

#[derive(Deserialize)]
struct ReceivedHeader {
    alg: String,
    /// Extensions that the receiver must understand; this one understands none.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Serialize)]
struct Claims<'a> {
    exp: u64,
    revision: u64,
    username: &'a str,
}

#[derive(Deserialize)]
struct ReceivedClaims {
    exp: Number,
    nbf: Option<Number>,
    revision: Number,
    username: String,
}

impl Jwt {
    pub(super) fn open(
        options: &JwtOptions,
        wall_clock: Arc<dyn WallClock>,
    ) -> Result<Self, JwtFault> {
        Ok(Self {
            method: options.method,
            ttl: options.ttl,
            keys: Keys::open(options)?,
            wall_clock,
        })
    }

    pub(super) fn mint(&self, subject: &Subject<'_>) -> Result<String, MintFault> {
        let header = Header {
            alg: self.method.name(),
            typ: "JWT",
        };
        let end = self.wall_clock.now().0.saturating_add(self.ttl);
        let claims = Claims {
            exp: end.as_secs(),
            revision: subject.revision.0,
            username: subject.user,
        };
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = self.keys.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    pub(super) fn verify(&self, token: &str) -> Result<TokenClaims, TokenFault> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenFault::Malformed)?;
        let header: ReceivedHeader = decoded(header)?;
        if header.alg != self.method.name() {
            return Err(TokenFault::Forged);
        }
        if header.crit.is_some() {
            return Err(TokenFault::Malformed);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature);
        let signature = signature.map_err(|_| TokenFault::Malformed)?;
        if !self.keys.verify(signed.as_bytes(), &signature) {
            return Err(TokenFault::Forged);
        }
        let claims: ReceivedClaims = decoded(claims)?;
        let now = self.wall_clock.now().0.as_secs_f64();
        let seconds = |number: &Number| number.as_f64().ok_or(TokenFault::Malformed);
        if seconds(&claims.exp)? <= now {
            return Err(TokenFault::Expired);
        }
        if let Some(start) = &claims.nbf
            && seconds(start)? > now
        {
            return Err(TokenFault::Expired);
        }
        let revision = whole(&claims.revision).ok_or(TokenFault::Malformed)?;
        if claims.username.is_empty() {
            return Err(TokenFault::Malformed);
        }
        Ok(TokenClaims {
            user: claims.username,
            basis: Basis::Revision(AuthRevision(revision)),
        })
    }
}

/// A revision. Other libraries write whole numbers as floats, some of them with an exponent.
fn whole(number: &Number) -> Option<u64> {
    /// Up to here a float holds every whole number.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let float = |value: f64| {
        let fits = value.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&value);
        // Checked above: whole, positive, and in the range.
        fits.then_some(value as u64)
    };
    number.as_u64().or_else(|| number.as_f64().and_then(float))
}

fn encoded(part: &impl Serialize) -> String {
    let json = serde_json::to_vec(part).expect("invariant: texts and numbers are JSON");
    URL_SAFE_NO_PAD.encode(json)
}

fn decoded<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenFault> {
    let json = URL_SAFE_NO_PAD.decode(part);
    let json = json.map_err(|_| TokenFault::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenFault::Malformed)
}

#[cfg(test)]
mod tests;

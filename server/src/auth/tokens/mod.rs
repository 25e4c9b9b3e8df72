//! Tokens: what a client gets for its password and shows with every call.
//!
//! Three providers: `signed` (the default), `simple` and `jwt`. The first two are sealed with a
//! secret of the cluster, so every member can verify them at once, with nothing stored per log-in;
//! they name the *generation* of the user's password, so they die with the password and the user.
//! A JSON web token names the revision of users and roles at log-in instead, as etcd's do, and so
//! dies with any change of them.
//!
//! Verification checks the form, the seal and the age. Whether the user exists and the generation
//! or revision is the current one is for the caller, who has the state.
//!
//! Invariant: a token is refused in time linear in its length, which is bounded, and before any
//! other work when it is too long.

mod jwt;
mod sealed;
mod signed;
mod simple;

use std::{fmt, sync::Arc};

use tenure_statemachine::ClusterTime;
use thiserror::Error;
use zeroize::Zeroizing;

use self::{jwt::Jwt, signed::Signed, simple::Simple};
pub use self::{
    jwt::JwtFault,
    sealed::{SECRET_BYTES, TokenSecret},
};
use super::Entropy;
use crate::{
    clock::{Clock, WallClock},
    config::TokenProvider,
};

/// Longest token that is looked at. A JSON web token of a 4096 bit RSA key takes 700 bytes and a
/// user's name is at most a few hundred; proxies refuse headers beyond 8 KiB anyway.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Longest name that a token can carry. The state machine's bound of names is lower.
const USER_BYTES_MAX: usize = 4 * 1024;

/// How often the password of a user was set; starts again with a user of the same name at a
/// number that no earlier one had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PasswordGeneration(pub u64);

/// The revision of users and roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuthRevision(pub u64);

/// A user that has just proved its identity.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The name.
    pub user: &'a str,
    /// The generation of the password that was verified.
    pub generation: PasswordGeneration,
    /// The revision of users and roles at which the password was read.
    pub revision: AuthRevision,
}

/// What a valid token says. The caller compares [`basis`](Self::basis) with the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClaims {
    /// The name of the user.
    pub user: String,
    /// What must still be as it was at log-in.
    pub basis: Basis,
}

/// What must still be as it was at log-in for a token to be good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The password of the user.
    Password(PasswordGeneration),
    /// Users and roles altogether.
    Revision(AuthRevision),
}

/// A token. Its text is a secret: shown by [`Token::reveal`] alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

/// Why a token is refused. Clients get one text for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenFault {
    /// It is longer than [`TOKEN_BYTES_MAX`].
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// It does not have the form of this member's tokens.
    #[error("the token has not the form of this member's tokens")]
    Malformed,
    /// Its seal or signature is wrong: of another cluster, from before the secret was changed, or
    /// forged.
    #[error("the token was not made with this cluster's secret")]
    Forged,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// This member issues and accepts no tokens.
    #[error("tokens are off")]
    Off,
}

/// Why no token can be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MintFault {
    /// This member has only the key for verification.
    #[error("this member has no private key to sign tokens with")]
    VerifyOnly,
    /// This member issues no tokens.
    #[error("tokens are off")]
    Off,
    /// The key failed to sign.
    #[error("the private key does not sign")]
    Unsigned,
    /// The name of the user is too long for a token.
    #[error("the name of the user is too long for a token")]
    NameTooLong,
}

/// The provider of tokens of this member; all members must have the same.
#[derive(Debug)]
pub struct Tokens(Provider);

#[derive(Debug)]
enum Provider {
    Off,
    Signed(Signed),
    Simple(Simple),
    Jwt(Box<Jwt>),
}

impl Tokens {
    /// Prepares the configured provider; reads the key files of `jwt`.
    ///
    /// # Errors
    /// A key file that cannot be read or used; the node must not start.
    pub fn open(
        provider: &TokenProvider,
        clock: Arc<dyn Clock>,
        wall_clock: Arc<dyn WallClock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, JwtFault> {
        Ok(Self(match provider {
            TokenProvider::Off => Provider::Off,
            TokenProvider::Signed { ttl } => Provider::Signed(Signed::new(*ttl)),
            TokenProvider::Simple { ttl } => Provider::Simple(Simple::new(*ttl, clock, entropy)),
            TokenProvider::Jwt(options) => Provider::Jwt(Box::new(Jwt::open(options, wall_clock)?)),
        }))
    }

    /// Issues a token to `subject`, whose password was verified.
    ///
    /// # Errors
    /// See [`MintFault`].
    pub fn mint(
        &self,
        subject: &Subject<'_>,
        secret: &TokenSecret,
        now: ClusterTime,
    ) -> Result<Token, MintFault> {
        if subject.user.len() > USER_BYTES_MAX {
            return Err(MintFault::NameTooLong);
        }
        let text = match &self.0 {
            Provider::Off => return Err(MintFault::Off),
            Provider::Signed(signed) => signed.mint(subject, secret, now),
            Provider::Simple(simple) => simple.mint(subject, secret, now),
            Provider::Jwt(jwt) => jwt.mint(subject)?,
        };
        if text.len() > TOKEN_BYTES_MAX {
            return Err(MintFault::NameTooLong);
        }
        Ok(Token(Zeroizing::new(text)))
    }

    /// Verifies the text that a client sent as its token, without a leading `Bearer`.
    ///
    /// # Errors
    /// See [`TokenFault`].
    pub fn verify(
        &self,
        token: &str,
        secret: &TokenSecret,
        now: ClusterTime,
    ) -> Result<TokenClaims, TokenFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::TooLong);
        }
        match &self.0 {
            Provider::Off => Err(TokenFault::Off),
            Provider::Signed(signed) => signed.verify(token, secret, now),
            Provider::Simple(simple) => simple.verify(token, secret, now),
            Provider::Jwt(jwt) => jwt.verify(token),
        }
    }
}

impl Token {
    /// The text, to be sent to the client and nowhere else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests;

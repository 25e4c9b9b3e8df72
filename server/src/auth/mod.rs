//! Proofs of identity: tokens, passwords, and the audit log of what was done with them.
//!
//! Does not know users, roles or permissions: those are state, which callers read and pass in. In
//! particular a verified token only says what its issuer claimed; the caller compares the claim
//! with the state.
//!
//! Invariant: passwords, token secrets and keys are zeroed when they are dropped, and neither they
//! nor tokens are in `Debug` texts, errors, logs or metrics.

pub mod audit;
mod entropy;
#[cfg(test)]
pub(crate) mod fake;
pub mod passwords;
mod secret;
mod start;
pub mod tokens;

pub use self::{
    entropy::{Entropy, SystemEntropy},
    secret::{PASSWORD_BYTES_MAX, Password, PasswordTooLong},
    start::{Auth, AuthError},
};

//! Applies the conditions of a command to its requests, and explains refusals in terms of its
//! flags.

use tenure::{Client, Error, ErrorKind, Guard, Token};

use crate::{args::Guards, failure::Failure};

impl Guards {
    /// A client whose writes carry these guards.
    pub(super) fn client(&self, client: &Client) -> Client {
        let guards = self.guards.iter();
        client.guarded(guards.map(|guard| Guard::new(guard.name.as_str(), Token::new(guard.token))))
    }

    /// The failure of a write that carried these guards.
    pub(super) fn explain(&self, error: Error) -> Failure {
        if error.kind() == ErrorKind::StaleGuard {
            return Failure::Guarded(error, self.guards.clone());
        }
        Failure::Call(error)
    }
}

/// Sets the idempotency key of a request, if one is given.
macro_rules! named {
    ($request:expr, $conditions:expr) => {
        match &$conditions.idempotency_key {
            Some(key) => $request.idempotency_key(key.as_str()),
            None => $request,
        }
    };
}
pub(super) use named;

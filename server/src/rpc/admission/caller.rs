//! Who makes a call.

use std::sync::Arc;

use tenure_statemachine::AuthRevision;

use crate::auth::tokens::Basis;

/// Who makes a call. While authentication is disabled nobody is looked at, and all are `Nobody`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::rpc) enum Caller {
    /// There is neither a token nor a certificate.
    #[default]
    Nobody,
    /// There is a token that is not good. Only streams whose messages are refused one by one are
    /// admitted with it.
    BadToken,
    /// A user.
    User(Arc<Proven>),
}

/// A user, as a token or a certificate proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rpc) struct Proven {
    pub(in crate::rpc) user: String,
    /// What must still be as it was when the token was issued; `None` for a certificate.
    pub(in crate::rpc) basis: Option<Basis>,
    /// When authentication was enabled whose secret the token is of: a stream does not outlive it.
    pub(in crate::rpc) enabled_at: AuthRevision,
}

impl Caller {
    pub(super) fn user(user: String, basis: Option<Basis>, enabled_at: AuthRevision) -> Self {
        Self::User(Arc::new(Proven {
            user,
            basis,
            enabled_at,
        }))
    }

    /// The name of the user.
    pub(in crate::rpc) fn name(&self) -> Option<&str> {
        match self {
            Self::Nobody | Self::BadToken => None,
            Self::User(proven) => Some(&proven.user),
        }
    }
}

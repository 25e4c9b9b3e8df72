//! `signed` tokens: stateless, valid on all members from the moment of their issue.
//!
//! The time in them is their end, in cluster time, so no wall clock matters and members agree. A
//! member that is cut off from the others reads its own estimate, which is never ahead.

use std::time::Duration;

use tenure_statemachine::ClusterTime;

use super::{
    Basis, Subject, TokenClaims, TokenFault,
    sealed::{self, Content, TokenSecret},
};

/// The head of every signed token; its number is that of the form.
const HEAD: &str = "tenure1";

/// Issues and verifies signed tokens.
#[derive(Debug)]
pub(super) struct Signed {
    ttl: Duration,
}

impl Signed {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl }
    }

    pub(super) fn mint(
        &self,
        subject: &Subject<'_>,
        secret: &TokenSecret,
        now: ClusterTime,
    ) -> String {
        let content = Content {
            time: after(now, self.ttl),
            generation: subject.generation,
            user: subject.user.to_owned(),
        };
        sealed::seal(HEAD, &content, secret)
    }

    pub(super) fn verify(
        &self,
        token: &str,
        secret: &TokenSecret,
        now: ClusterTime,
    ) -> Result<TokenClaims, TokenFault> {
        let Some((HEAD, _)) = token.split_once('.') else {
            return Err(TokenFault::Malformed);
        };
        let (_, content) = sealed::open(token, secret)?;
        if content.time <= now {
            return Err(TokenFault::Expired);
        }
        Ok(TokenClaims {
            user: content.user,
            basis: Basis::Password(content.generation),
        })
    }
}

/// The cluster time `ttl` after `now`.
pub(super) fn after(now: ClusterTime, ttl: Duration) -> ClusterTime {
    let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    ClusterTime(now.0.saturating_add(millis))
}

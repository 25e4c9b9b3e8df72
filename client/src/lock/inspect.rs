//! Looking at locks and elections from outside, and ending what others hold.

use bytes::Bytes;
use tenure_proto::v1::{
    CheckTokenRequest, ForceReleaseRequest, InspectRequest, ListRequest, lock_client::LockClient,
};

use crate::{
    call::{Call, ask},
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    id::Token,
    range::IntoBytes,
    response::{LockList, LockQueue, ReleasedClaims, TokenCheck},
};

/// A short call of the lock service.
fn call(operation: Operation) -> Call {
    Call::tenure(operation, Lane::Calls)
}

impl Client {
    /// Whether a token holds a lock or an election at this moment, and who does. For a resource
    /// that cannot remember tokens: by the time the answer is there it may be over, so a guard or
    /// a [fence](crate::fence) is better where there can be one.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn check_token(
        &self,
        name: impl IntoBytes,
        token: impl Into<Token>,
    ) -> Result<TokenCheck, Error> {
        let request = CheckTokenRequest {
            name: name.into_bytes(),
            token: token.into().get(),
        };
        let call = call(Operation::Read);
        let check = ask!(self, call, LockClient.check_token(request)).await?;
        Ok(TokenCheck::of(check))
    }

    /// Who holds a lock or an election and who waits, the first `waiters_max` of them; zero means
    /// a hundred.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn inspect_lock(
        &self,
        name: impl IntoBytes,
        waiters_max: u32,
    ) -> Result<LockQueue, Error> {
        let request = InspectRequest {
            name: name.into_bytes(),
            limit: waiters_max,
        };
        let queue = ask!(self, call(Operation::Read), LockClient.inspect(request)).await?;
        Ok(LockQueue::of(queue))
    }

    /// The locks and elections below a prefix that have claims, `locks_max` of them; zero means
    /// a thousand.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn list_locks(
        &self,
        prefix: impl IntoBytes,
        locks_max: u32,
    ) -> Result<LockList, Error> {
        let request = ListRequest {
            prefix: prefix.into_bytes(),
            limit: locks_max,
        };
        let list = ask!(self, call(Operation::Read), LockClient.list(request)).await?;
        Ok(LockList::of(list))
    }

    /// Ends claims of others: the one with this token, or without one every claim that holds. The
    /// next in line has the lock at once, while the former holder may still believe that it does,
    /// so only what checks tokens is safe. The reason is written to the audit log of every member.
    ///
    /// # Errors
    /// [`NotHolder`](crate::ErrorKind::NotHolder) when there is no such claim, and whatever any
    /// call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the claims are ended.
    pub async fn force_release(
        &self,
        name: impl IntoBytes,
        token: Option<Token>,
        reason: impl Into<String>,
    ) -> Result<ReleasedClaims, Error> {
        let name: Bytes = name.into_bytes();
        let request = ForceReleaseRequest {
            name,
            token: token.map_or(0, Token::get),
            reason: reason.into(),
            options: None,
        };
        let call = call(Operation::Write);
        let released = ask!(self, call, LockClient.force_release(request)).await?;
        Ok(ReleasedClaims::of(released))
    }
}

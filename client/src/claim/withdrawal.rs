//! Withdraws a claim whose caller stopped waiting for it.
//!
//! Invariant: unless the claim was granted or certainly never made, it is removed at the latest
//! with its lease, and usually at once.

use bytes::Bytes;
use futures::future::BoxFuture;
use tenure_proto::v1::{WithdrawRequest, lock_client::LockClient};
use tokio::time::sleep;

use super::session::ClaimSession;
use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::{Client, SequenceNumber},
    error::{Error, ErrorKind, Operation},
    retry::Backoff,
};

/// A request that makes claims.
pub(crate) trait ClaimRequest: Clone + Send + Sync + 'static {
    /// Sends the request again, under the number it had, to learn its outcome: whether it made a
    /// claim.
    fn resolve<'a>(
        &'a self,
        client: &'a Client,
        number: &'a SequenceNumber,
    ) -> BoxFuture<'a, Result<bool, Error>>;
}

/// What a request that failed may have left at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leftover {
    /// Nothing, and no copy of the request will make a claim. The session may hold the names by
    /// another request, which must not be withdrawn.
    Nothing,
    /// Claims perhaps, and no copy of the request will make another.
    Claims,
    /// Unknown; a copy of the request may still be executed.
    Unknown,
}

impl Leftover {
    /// `repeated` when an earlier attempt may have been executed without its answer arriving.
    fn after(error: &Error, repeated: bool, names: usize) -> Self {
        match error.kind() {
            ErrorKind::RequestForgotten => Self::Claims,
            // Of several claims made together, one was ended and the others remain.
            ErrorKind::ClaimEnded if names > 1 => Self::Claims,
            ErrorKind::ClaimEnded => Self::Nothing,
            _ if error.outcome_unknown() => Self::Unknown,
            _ if !repeated || error.settles() => Self::Nothing,
            _ => Self::Unknown,
        }
    }
}

/// Withdraws claims when dropped, unless disarmed.
pub(crate) struct Withdrawal<R: ClaimRequest> {
    task: Option<Task<R>>,
}

struct Task<R> {
    /// Resolves the request, which has to be sent again with everything it carried.
    client: Client,
    /// Withdraws, without the guards of the user's client, which may be stale by now.
    bare: Client,
    session: ClaimSession,
    names: Vec<Bytes>,
    /// The request while its outcome is unknown: it may still be on its way to the server.
    unresolved: Option<(R, SequenceNumber)>,
    /// The number of the withdrawal under way, of the last of the names: a repeat under another
    /// number could remove a claim that the session has made since.
    number: Option<SequenceNumber>,
}

impl<R: ClaimRequest> Withdrawal<R> {
    pub(crate) fn arm(
        client: &Client,
        session: &ClaimSession,
        names: &[Bytes],
        request: R,
        number: &SequenceNumber,
    ) -> Self {
        Self {
            task: Some(Task {
                client: client.clone(),
                bare: session.attach(&client.bare()),
                session: session.clone(),
                names: names.to_vec(),
                unresolved: Some((request, number.clone())),
                number: None,
            }),
        }
    }

    /// The claim was granted.
    pub(crate) fn disarm(&mut self) {
        self.task = None;
    }

    /// The request was executed: no copy of it can make another claim.
    pub(crate) fn executed(&mut self) {
        if let Some(task) = &mut self.task {
            task.unresolved = None;
        }
    }

    /// The request failed; `repeated` when an earlier attempt may have been executed without its
    /// answer arriving. A request that was never executed needs no withdrawal.
    pub(crate) fn refused(&mut self, error: &Error, repeated: bool) {
        let names = self.task.as_ref().map_or(0, |task| task.names.len());
        match Leftover::after(error, repeated, names) {
            Leftover::Nothing => self.not_claimed(),
            Leftover::Claims => self.executed(),
            Leftover::Unknown => {}
        }
    }

    /// No claim was made, and none will be. A session opened for it is closed all the same.
    pub(crate) fn not_claimed(&mut self) {
        if let Some(task) = &mut self.task {
            task.unresolved = None;
            task.names.clear();
        }
    }
}

impl<R: ClaimRequest> Drop for Withdrawal<R> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            let session = task.session.clone();
            session.in_background(task.run());
        }
    }
}

impl<R: ClaimRequest> Task<R> {
    async fn run(mut self) {
        // The claim ends with its session; a request that arrives late finds no session.
        if self.session.is_own() {
            return self.session.close().await;
        }
        let mut backoff = Backoff::default();
        while self.session.is_held() {
            match self.attempt().await {
                Ok(()) => return,
                Err(error) if error.needs_retry() => {
                    tracing::debug!(%error, "withdrawing a claim failed; trying again");
                }
                Err(error) => {
                    tracing::warn!(%error, "withdrawing a claim failed; it ends with its session");
                    return;
                }
            }
            sleep(backoff.next_pause()).await;
        }
    }

    async fn attempt(&mut self) -> Result<(), Error> {
        if let Some((request, number)) = &self.unresolved {
            let leftover = match request.resolve(&self.client, number).await {
                Ok(true) => Leftover::Claims,
                Ok(false) => Leftover::Nothing,
                Err(error) => match Leftover::after(&error, true, self.names.len()) {
                    Leftover::Unknown => return Err(error),
                    leftover => leftover,
                },
            };
            self.unresolved = None;
            if leftover == Leftover::Nothing {
                self.names.clear();
            }
        }
        while let Some(name) = self.names.last() {
            let request = WithdrawRequest {
                name: name.clone(),
                lease: self.session.lease().get(),
                options: None,
            };
            let number = match &self.number {
                Some(number) => number.clone(),
                None => self.session.allocate(&self.bare).await?,
            };
            self.number = Some(number.clone());
            withdraw(&self.bare, request, number).await?;
            self.number = None;
            self.names.pop();
        }
        Ok(())
    }
}

async fn withdraw(
    client: &Client,
    request: WithdrawRequest,
    number: SequenceNumber,
) -> Result<(), Error> {
    let call = Call::tenure(Operation::Write, Lane::KeepAlive).with_number(Some(number));
    rpc!(client, call, LockClient.withdraw(request))
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenure_proto::{metadata::REASON_METADATA, v1::AcquireRequest};

    use super::*;
    use crate::{claim::SessionChoice, fake::Fake, lock::TryAcquire};

    /// Returns the withdrawal of a request for a lock by a session, which was never sent.
    async fn abandoned<R: ClaimRequest>(
        client: &Client,
        session: &crate::Session,
        name: &'static str,
        request: impl FnOnce(AcquireRequest) -> R,
    ) -> Task<R> {
        let choice = SessionChoice::Shared(session.clone());
        let owner = ClaimSession::open(client, choice).await.unwrap();
        let client = session.attach(client);
        let number = owner.allocate(&client).await.unwrap();
        let names = [Bytes::from(name)];
        let request = request(AcquireRequest {
            names: names.to_vec(),
            lease: session.lease().get(),
            ..AcquireRequest::default()
        });
        let mut armed = Withdrawal::arm(&client, &owner, &names, request, &number);
        armed.task.take().expect("it was armed")
    }

    #[tokio::test]
    async fn a_request_that_claimed_something_is_withdrawn() {
        let (fake, client) = Fake::start().await;
        let session = client
            .sessions()
            .open(Duration::from_secs(30))
            .await
            .unwrap();
        abandoned(&client, &session, "a", TryAcquire)
            .await
            .run()
            .await;
        abandoned(&client, &session, "b", |request| request)
            .await
            .run()
            .await;
        let store = fake.store.lock();
        assert_eq!((store.claimed, store.calls("withdraw")), (2, 2));
        assert_eq!((store.claims("a"), store.claims("b")), (0, 0));
    }

    /// The server identifies a claim by its name and its lease, which another request has, too.
    #[tokio::test]
    async fn a_request_that_claimed_nothing_takes_nothing_from_its_session() {
        let (fake, client) = Fake::start().await;
        let session = client
            .sessions()
            .open(Duration::from_secs(30))
            .await
            .unwrap();
        let guard = client.locks().acquire("a").session(&session).await.unwrap();
        abandoned(&client, &session, "a", TryAcquire)
            .await
            .run()
            .await;
        abandoned(&client, &session, "a", |request| request)
            .await
            .run()
            .await;
        assert_eq!(fake.store.lock().claims("a"), 1, "the session holds it");
        guard.release().await.unwrap();
    }

    #[test]
    fn what_a_failed_request_leaves_follows_from_its_error() {
        let answered = |reason: &'static str, code| {
            let mut status = tonic::Status::new(code, "tenure: so");
            let reason = reason.parse().expect("a reason is ASCII");
            status.metadata_mut().insert(REASON_METADATA, reason);
            Error::from_status(status, Operation::Write, "here")
        };
        let denied = || {
            let status = tonic::Status::permission_denied("etcdserver: permission denied");
            Error::from_status(status, Operation::Write, "here")
        };
        let failed = tonic::Code::FailedPrecondition;
        let claimed = || answered("AlreadyClaimed", failed);
        let ended = || answered("ClaimEnded", failed);
        for (error, repeated, names, leftover) in [
            (claimed(), false, 1, Leftover::Nothing),
            (claimed(), true, 1, Leftover::Nothing),
            (
                claimed().with_earlier_attempts(true),
                true,
                1,
                Leftover::Nothing,
            ),
            (ended(), true, 1, Leftover::Nothing),
            (ended(), false, 2, Leftover::Claims),
            // Concluded from its key, not reported by the server.
            (
                Error::local(ErrorKind::ClaimEnded, "gone"),
                true,
                1,
                Leftover::Nothing,
            ),
            (
                answered("RequestForgotten", failed),
                true,
                1,
                Leftover::Claims,
            ),
            (denied(), false, 1, Leftover::Nothing),
            (denied(), true, 1, Leftover::Unknown),
            (
                denied().with_earlier_attempts(true),
                false,
                1,
                Leftover::Unknown,
            ),
            (
                Error::deadline(Operation::Write),
                false,
                1,
                Leftover::Unknown,
            ),
        ] {
            let text = format!("{:?} repeated {repeated}", error.kind());
            assert_eq!(Leftover::after(&error, repeated, names), leftover, "{text}");
        }
    }
}

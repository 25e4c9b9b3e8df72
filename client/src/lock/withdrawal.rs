//! Taking a claim back that its owner stopped waiting for.
//!
//! The invariant: unless the claim was granted or certainly never made, it is gone when its lease
//! is, and usually at once.

use bytes::Bytes;
use futures::future::BoxFuture;
use tenure_proto::v1::{WithdrawRequest, lock_client::LockClient};
use tokio::time::sleep;

use super::tenancy::Tenancy;
use crate::{
    call::{Call, ask},
    channel::Lane,
    client::Client,
    error::{Error, ErrorKind, Operation},
    retry::Backoff,
    session::Ticket,
};

/// A request that makes a claim.
pub(crate) trait Claiming: Clone + Send + Sync + 'static {
    /// Sends the request again, under the number it had, until the server says what became of it:
    /// whether it made a claim.
    fn settle<'a>(
        &'a self,
        client: &'a Client,
        ticket: &'a Ticket,
    ) -> BoxFuture<'a, Result<bool, Error>>;
}

/// What a request that was answered with an error has left at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing, and no copy of it will make a claim. The same session may hold the names by
    /// another request, which must not be withdrawn.
    Nothing,
    /// Claims perhaps, and no copy of it will make another.
    Claims,
    /// The answer does not tell.
    Open,
}

impl Left {
    /// `repeated` when the request may have been executed before, without a word.
    fn by(error: &Error, repeated: bool, names: usize) -> Self {
        match error.kind() {
            ErrorKind::RequestForgotten => Self::Claims,
            // Of claims that were made together, one was ended and the others are left.
            ErrorKind::ClaimEnded if names > 1 => Self::Claims,
            ErrorKind::ClaimEnded => Self::Nothing,
            _ if error.outcome_unknown() => Self::Open,
            _ if !repeated || error.settles() => Self::Nothing,
            _ => Self::Open,
        }
    }
}

/// Withdraws a claim when it is dropped, unless it was disarmed.
pub(super) struct Withdrawal<R: Claiming> {
    work: Option<Work<R>>,
}

struct Work<R> {
    /// Settles: a request has to be sent again with all that it carried.
    client: Client,
    /// Withdraws: without the guards of the user's client, which may be stale by now.
    bare: Client,
    tenancy: Tenancy,
    names: Vec<Bytes>,
    /// To be settled first: it may still be on its way to the server.
    unsettled: Option<(R, Ticket)>,
    /// Under which the last of the names is being withdrawn: a repeat under another number could
    /// take a claim that the session has made since.
    number: Option<Ticket>,
}

impl<R: Claiming> Withdrawal<R> {
    pub(super) fn arm(
        client: &Client,
        tenancy: &Tenancy,
        names: &[Bytes],
        request: R,
        ticket: &Ticket,
    ) -> Self {
        Self {
            work: Some(Work {
                client: client.clone(),
                bare: tenancy.session().attach(&client.bare()),
                tenancy: tenancy.clone(),
                names: names.to_vec(),
                unsettled: Some((request, ticket.clone())),
                number: None,
            }),
        }
    }

    /// The claim was granted.
    pub(super) fn disarm(&mut self) {
        self.work = None;
    }

    /// The server has executed the request: no copy of it can make another claim.
    pub(super) fn executed(&mut self) {
        if let Some(work) = &mut self.work {
            work.unsettled = None;
        }
    }

    /// The server has refused the request, which it may have executed before, without a word, if
    /// that is `repeated`. What it did not execute needs no withdrawal.
    pub(super) fn refused(&mut self, error: &Error, repeated: bool) {
        let names = self.work.as_ref().map_or(0, |work| work.names.len());
        match Left::by(error, repeated, names) {
            Left::Nothing => self.nothing(),
            Left::Claims => self.executed(),
            Left::Open => {}
        }
    }

    /// No claim was made, and none will be. A session of its own ends all the same.
    pub(super) fn nothing(&mut self) {
        if let Some(work) = &mut self.work {
            work.unsettled = None;
            work.names.clear();
        }
    }
}

impl<R: Claiming> Drop for Withdrawal<R> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let tenancy = work.tenancy.clone();
            tenancy.in_background(work.run());
        }
    }
}

impl<R: Claiming> Work<R> {
    async fn run(mut self) {
        // The claim ends with its session; a request that comes late finds none.
        if self.tenancy.is_own() {
            return self.tenancy.end().await;
        }
        let mut backoff = Backoff::default();
        while self.tenancy.session().is_held() {
            match self.attempt().await {
                Ok(()) => return,
                Err(error) if error.leaves_undone() => {
                    tracing::debug!(%error, "a withdrawal is tried again");
                }
                Err(error) => {
                    tracing::warn!(%error, "a claim is left until its session ends");
                    return;
                }
            }
            sleep(backoff.next_pause()).await;
        }
    }

    async fn attempt(&mut self) -> Result<(), Error> {
        if let Some((request, ticket)) = &self.unsettled {
            let left = match request.settle(&self.client, ticket).await {
                Ok(true) => Left::Claims,
                Ok(false) => Left::Nothing,
                Err(error) => match Left::by(&error, true, self.names.len()) {
                    Left::Open => return Err(error),
                    left => left,
                },
            };
            self.unsettled = None;
            if left == Left::Nothing {
                self.names.clear();
            }
        }
        while let Some(name) = self.names.last() {
            let request = WithdrawRequest {
                name: name.clone(),
                lease: self.tenancy.session().lease().get(),
                options: None,
            };
            let ticket = match &self.number {
                Some(ticket) => ticket.clone(),
                None => self.tenancy.draw(&self.bare).await?,
            };
            self.number = Some(ticket.clone());
            withdraw(&self.bare, request, ticket).await?;
            self.number = None;
            self.names.pop();
        }
        Ok(())
    }
}

async fn withdraw(client: &Client, request: WithdrawRequest, ticket: Ticket) -> Result<(), Error> {
    let call = Call::tenure(Operation::Write, Lane::KeepAlive).under(Some(ticket));
    ask!(client, call, LockClient.withdraw(request))
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenure_proto::v1::AcquireRequest;

    use super::*;
    use crate::lock::{Lifetime, attempt::Attempt, fake::Fake};

    /// What withdraws a request of a session for a lock that nobody has heard of since.
    async fn given_up<R: Claiming>(
        client: &Client,
        session: &crate::Session,
        name: &'static str,
        request: impl FnOnce(AcquireRequest) -> R,
    ) -> Work<R> {
        let lifetime = Lifetime::Of(session.clone());
        let tenancy = Tenancy::open(client, lifetime).await.unwrap();
        let client = session.attach(client);
        let ticket = tenancy.draw(&client).await.unwrap();
        let names = [Bytes::from(name)];
        let request = request(AcquireRequest {
            names: names.to_vec(),
            lease: session.lease().get(),
            ..AcquireRequest::default()
        });
        let mut armed = Withdrawal::arm(&client, &tenancy, &names, request, &ticket);
        armed.work.take().expect("it was armed")
    }

    #[tokio::test]
    async fn a_request_that_claimed_something_is_withdrawn() {
        let (fake, client) = Fake::start().await;
        let session = client.session(Duration::from_secs(30)).await.unwrap();
        given_up(&client, &session, "a", Attempt).await.run().await;
        given_up(&client, &session, "b", |request| request)
            .await
            .run()
            .await;
        let store = fake.store.lock();
        assert_eq!((store.claimed, store.calls["withdraw"]), (2, 2));
        assert_eq!((store.claims("a"), store.claims("b")), (0, 0));
    }

    /// The server knows a claim by its name and its lease, which are those of another request.
    #[tokio::test]
    async fn a_request_that_claimed_nothing_takes_nothing_from_its_session() {
        let (fake, client) = Fake::start().await;
        let session = client.session(Duration::from_secs(30)).await.unwrap();
        let guard = client.lock("a").session(&session).await.unwrap();
        given_up(&client, &session, "a", Attempt).await.run().await;
        given_up(&client, &session, "a", |request| request)
            .await
            .run()
            .await;
        assert_eq!(fake.store.lock().claims("a"), 1, "the session holds it");
        guard.release().await.unwrap();
    }

    #[test]
    fn what_a_request_has_left_follows_from_its_answer() {
        let answered = |reason: &'static str, code| {
            let mut status = tonic::Status::new(code, "tenure: so");
            let reason = reason.parse().expect("a reason is ASCII");
            status.metadata_mut().insert("tenure-reason", reason);
            Error::from_status(status, Operation::Write, "here")
        };
        let denied = || {
            let status = tonic::Status::permission_denied("etcdserver: permission denied");
            Error::from_status(status, Operation::Write, "here")
        };
        let failed = tonic::Code::FailedPrecondition;
        let claimed = || answered("AlreadyClaimed", failed);
        let ended = || answered("ClaimEnded", failed);
        for (error, repeated, names, left) in [
            (claimed(), false, 1, Left::Nothing),
            (claimed(), true, 1, Left::Nothing),
            (claimed().after(true), true, 1, Left::Nothing),
            (ended(), true, 1, Left::Nothing),
            (ended(), false, 2, Left::Claims),
            // Seen by its key, not heard from the server.
            (
                Error::local(ErrorKind::ClaimEnded, "gone"),
                true,
                1,
                Left::Nothing,
            ),
            (answered("RequestForgotten", failed), true, 1, Left::Claims),
            (denied(), false, 1, Left::Nothing),
            (denied(), true, 1, Left::Open),
            (denied().after(true), false, 1, Left::Open),
            (Error::deadline(Operation::Write), false, 1, Left::Open),
        ] {
            let text = format!("{:?} repeated {repeated}", error.kind());
            assert_eq!(Left::by(&error, repeated, names), left, "{text}");
        }
    }
}

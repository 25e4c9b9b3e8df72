//! Taking a claim back that its owner stopped waiting for.
//!
//! The invariant: unless the claim was granted or certainly never made, it is gone when its lease
//! is, and usually at once.

use bytes::Bytes;
use futures::future::BoxFuture;
use tenure_proto::v1::{WithdrawRequest, lock_client::LockClient};
use tokio::time::sleep;
use tonic::Response;

use super::tenancy::Tenancy;
use crate::{
    call::Call,
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    retry::Backoff,
    session::Ticket,
};

/// A request that makes a claim.
pub(crate) trait Claiming: Clone + Send + Sync + 'static {
    /// Sends the request again, under the number it had, until the server says what became of it.
    fn settle<'a>(
        &'a self,
        client: &'a Client,
        ticket: &'a Ticket,
    ) -> BoxFuture<'a, Result<(), Error>>;
}

/// Withdraws a claim when it is dropped, unless it was disarmed.
pub(super) struct Withdrawal<R: Claiming> {
    work: Option<Work<R>>,
}

struct Work<R> {
    client: Client,
    tenancy: Tenancy,
    names: Vec<Bytes>,
    /// To be settled first: it may still be on its way to the server.
    unsettled: Option<(R, Ticket)>,
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
                tenancy: tenancy.clone(),
                names: names.to_vec(),
                unsettled: Some((request, ticket.clone())),
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

    /// The server has refused the request; what it did not execute needs no withdrawal.
    pub(super) fn refused(&mut self, error: &Error) {
        if !error.outcome_unknown() {
            self.nothing();
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
                Err(error) if error.ends_stream_for_now() => {
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
            match request.settle(&self.client, ticket).await {
                Err(error) if error.outcome_unknown() || error.ends_stream_for_now() => {
                    return Err(error);
                }
                // A refusal settles it as well as a claim does; withdrawing nothing does no harm.
                Ok(()) | Err(_) => self.unsettled = None,
            }
        }
        while let Some(name) = self.names.last() {
            let request = WithdrawRequest {
                name: name.clone(),
                lease: self.tenancy.session().lease().get(),
                options: None,
            };
            withdraw(&self.client, request).await?;
            self.names.pop();
        }
        Ok(())
    }
}

async fn withdraw(client: &Client, request: WithdrawRequest) -> Result<(), Error> {
    let call = Call::tenure(Operation::Write, Lane::KeepAlive);
    client
        .run(call, request, |channel, request| async move {
            let answer = LockClient::new(channel).withdraw(request).await;
            answer.map(Response::into_inner)
        })
        .await
        .map(drop)
}

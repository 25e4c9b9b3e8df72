//! Taking a lock only if it is free.

use futures::future::BoxFuture;
use tenure_proto::v1::{AcquireRequest, TryAcquireResponse, lock_client::LockClient};
use tonic::Response;

use super::{
    pursuit::Claimed,
    tenancy::Tenancy,
    withdrawal::{Claiming, Withdrawal},
};
use crate::{
    call::Call,
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    session::Ticket,
};

/// A request that does not wait.
#[derive(Debug, Clone)]
struct Attempt(AcquireRequest);

impl Attempt {
    async fn send(&self, client: &Client, ticket: &Ticket) -> Result<TryAcquireResponse, Error> {
        let call = Call::tenure(Operation::Write, Lane::KeepAlive).under(Some(ticket.clone()));
        client
            .run(call, self.0.clone(), |channel, request| async move {
                let answer = LockClient::new(channel).try_acquire(request).await;
                answer.map(Response::into_inner)
            })
            .await
    }
}

impl Claiming for Attempt {
    fn settle<'a>(
        &'a self,
        client: &'a Client,
        ticket: &'a Ticket,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.send(client, ticket).await.map(drop) })
    }
}

/// Claims what is free, or nothing.
///
/// # Cancel safety
/// Dropping the future withdraws in the background what was claimed.
pub(super) async fn attempt(
    client: &Client,
    tenancy: &Tenancy,
    request: AcquireRequest,
) -> Result<Option<Vec<Claimed>>, Error> {
    let client = tenancy.session().attach(client);
    let ticket = tenancy.draw(&client).await?;
    let names = request.names.clone();
    let request = Attempt(request);
    let mut withdrawal = Withdrawal::arm(&client, tenancy, &names, request.clone(), &ticket);
    match request.send(&client, &ticket).await {
        Ok(answer) => {
            let granted = answer.granted.map(|granted| granted.claims);
            let claims = granted.filter(|claims| !claims.is_empty());
            if claims.is_some() {
                withdrawal.disarm();
            } else {
                withdrawal.nothing();
            }
            Ok(claims.map(|claims| claims.into_iter().map(Claimed::from).collect()))
        }
        Err(error) => {
            withdrawal.refused(&error);
            Err(error)
        }
    }
}

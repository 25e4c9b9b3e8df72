//! Taking a lock only if it is free.

use futures::future::BoxFuture;
use tenure_proto::v1::{AcquireRequest, Claim, TryAcquireResponse, lock_client::LockClient};

use super::{
    pursuit::Claimed,
    tenancy::Tenancy,
    withdrawal::{Claiming, Withdrawal},
};
use crate::{
    call::{Call, ask},
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    session::Ticket,
};

/// A request that does not wait.
#[derive(Debug, Clone)]
pub(super) struct Attempt(pub(super) AcquireRequest);

impl Attempt {
    async fn send(&self, client: &Client, ticket: &Ticket) -> Result<TryAcquireResponse, Error> {
        let call = Call::tenure(Operation::Write, Lane::KeepAlive).under(Some(ticket.clone()));
        ask!(client, call, LockClient.try_acquire(self.0.clone())).await
    }
}

impl Claiming for Attempt {
    fn settle<'a>(
        &'a self,
        client: &'a Client,
        ticket: &'a Ticket,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { Ok(granted(self.send(client, ticket).await?).is_some()) })
    }
}

/// The claims that were made, if any were.
fn granted(answer: TryAcquireResponse) -> Option<Vec<Claim>> {
    let claims = answer.granted.map(|granted| granted.claims);
    claims.filter(|claims| !claims.is_empty())
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
            let claims = granted(answer);
            if claims.is_some() {
                withdrawal.disarm();
            } else {
                withdrawal.nothing();
            }
            Ok(claims.map(|claims| claims.into_iter().map(Claimed::from).collect()))
        }
        Err(error) => {
            withdrawal.refused(&error, false);
            Err(error)
        }
    }
}

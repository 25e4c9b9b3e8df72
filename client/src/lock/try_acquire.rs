//! The request for locks that does not wait.

use futures::future::BoxFuture;
use tenure_proto::v1::{AcquireRequest, Claim, TryAcquireResponse, lock_client::LockClient};

use crate::{
    call::{Call, rpc},
    channel::Lane,
    claim::{ClaimRecord, ClaimRequest, ClaimSession, Withdrawal},
    client::{Client, SequenceNumber},
    error::{Error, Operation},
};

/// A request that is granted at once or not at all.
#[derive(Debug, Clone)]
pub(crate) struct TryAcquire(pub(crate) AcquireRequest);

impl TryAcquire {
    async fn send(
        &self,
        client: &Client,
        number: &SequenceNumber,
    ) -> Result<TryAcquireResponse, Error> {
        let call =
            Call::tenure(Operation::Write, Lane::KeepAlive).with_number(Some(number.clone()));
        rpc!(client, call, LockClient.try_acquire(self.0.clone())).await
    }
}

impl ClaimRequest for TryAcquire {
    fn resolve<'a>(
        &'a self,
        client: &'a Client,
        number: &'a SequenceNumber,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { Ok(granted(self.send(client, number).await?).is_some()) })
    }
}

/// The claims that were made, if any were.
fn granted(answer: TryAcquireResponse) -> Option<Vec<Claim>> {
    let claims = answer.granted.map(|granted| granted.claims);
    claims.filter(|claims| !claims.is_empty())
}

/// Acquires locks that are all free, or none.
///
/// # Cancel safety
/// Dropping the future withdraws the claims in the background.
pub(super) async fn try_acquire(
    client: &Client,
    session: &ClaimSession,
    request: AcquireRequest,
) -> Result<Option<Vec<ClaimRecord>>, Error> {
    let client = session.attach(client);
    let number = session.allocate(&client).await?;
    let names = request.names.clone();
    let request = TryAcquire(request);
    let mut withdrawal = Withdrawal::arm(&client, session, &names, request.clone(), &number);
    match request.send(&client, &number).await {
        Ok(answer) => {
            let claims = granted(answer);
            if claims.is_some() {
                withdrawal.disarm();
            } else {
                withdrawal.not_claimed();
            }
            Ok(claims.map(|claims| claims.into_iter().map(ClaimRecord::from).collect()))
        }
        Err(error) => {
            withdrawal.refused(&error, false);
            Err(error)
        }
    }
}

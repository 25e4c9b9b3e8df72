//! The request for locks that waits in their queues.

use futures::future::BoxFuture;
use tenure_proto::v1::{
    self, AcquireRequest, AcquireResponse, acquire_response::State, lock_client::LockClient,
};
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use crate::{
    claim::{ClaimRecord, ClaimState, QueuePlace, StreamedClaimRequest},
    response::Claim,
};

impl StreamedClaimRequest for AcquireRequest {
    type Answer = AcquireResponse;

    fn send(
        channel: Channel,
        request: Request<Self>,
    ) -> BoxFuture<'static, Result<Response<Streaming<AcquireResponse>>, Status>> {
        Box::pin(async move { LockClient::new(channel).acquire(request).await })
    }

    fn read(answer: AcquireResponse) -> Option<ClaimState> {
        let records = |claims: Vec<v1::Claim>| claims.into_iter().map(ClaimRecord::from).collect();
        Some(match answer.state? {
            State::Queued(queued) => {
                let place = QueuePlace {
                    position: queued.position,
                    holder: queued.holder.map(Claim::of),
                };
                ClaimState::Waiting(records(queued.claims), place)
            }
            State::Granted(granted) => ClaimState::Granted(records(granted.claims)),
        })
    }
}

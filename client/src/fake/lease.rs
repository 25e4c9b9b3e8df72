//! Leases and their renewals.

use std::sync::Arc;

use futures::StreamExt;
use parking_lot::Mutex;
use tenure_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_server::Lease,
};
use tenure_statemachine::{Command, LeaseGrant, LeaseId, LeaseRevoke, Reply, Ttl};
use tonic::{Request, Response, Status, Streaming};

use super::{
    message::header,
    node::{Answer, Answers, Service, absent},
    store::Store,
};

fn seconds(ttl: Ttl) -> i64 {
    i64::try_from(ttl.as_secs_ceil()).expect("a short time")
}

/// An open stream of renewals.
struct Renewing(Arc<Mutex<Store>>);

impl Renewing {
    fn begin(store: &Arc<Mutex<Store>>) -> Self {
        store.lock().renewing += 1;
        Self(Arc::clone(store))
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.lock().renewing -= 1;
    }
}

#[tonic::async_trait]
impl Lease for Service {
    type LeaseKeepAliveStream = Answers<LeaseKeepAliveResponse>;

    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Answer<LeaseGrantResponse> {
        self.take("grant", request, |store, arrival, request| {
            let id = match request.id {
                0 => store.next_lease(),
                chosen => LeaseId(chosen),
            };
            let ttl = Ttl::from_secs(u64::try_from(request.ttl).expect("tests grant some time"));
            let (id, ttl) = store.write(arrival, LeaseGrant { id, ttl })?;
            Ok(LeaseGrantResponse {
                header: header(store.revision()),
                id: id.0,
                ttl: seconds(ttl),
                ..LeaseGrantResponse::default()
            })
        })
        .await
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Answer<LeaseRevokeResponse> {
        self.take("revoke", request, |store, arrival, request| {
            store.write(arrival, LeaseRevoke(LeaseId(request.id)))?;
            Ok(LeaseRevokeResponse {
                header: header(store.revision()),
            })
        })
        .await
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Answer<Self::LeaseKeepAliveStream> {
        self.open("keep_alive", &request);
        let renewing = Renewing::begin(&self.fake.store);
        let fake = Arc::clone(&self.fake);
        let answers = request.into_inner().then(move |renewal| {
            let _open = &renewing;
            let fake = Arc::clone(&fake);
            async move {
                let id = renewal?.id;
                let mut modes = fake.modes.subscribe();
                let answers = modes.wait_for(|modes| !modes.mute).await;
                drop(answers.map_err(|_| Status::unavailable("tenure: the server stops"))?);
                fake.change(|store| {
                    let outcome = store.apply(Command::LeaseRenew(vec![LeaseId(id)]));
                    let Ok(Reply::LeaseRenew(renewed)) = outcome.reply else {
                        panic!("renewals are not refused");
                    };
                    let ttl = renewed.into_iter().flatten().next();
                    Ok(LeaseKeepAliveResponse {
                        header: header(store.revision()),
                        id,
                        ttl: ttl.map_or(0, seconds),
                    })
                })
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Answer<LeaseTimeToLiveResponse> {
        self.take("time_to_live", request, |store, _, request| {
            let lease = store.reader().lease(LeaseId(request.id));
            let lease = lease.expect("memory can be read");
            let left =
                |lease: &tenure_statemachine::Lease| seconds(store.now().until(lease.deadline));
            Ok(LeaseTimeToLiveResponse {
                header: header(store.revision()),
                id: request.id,
                ttl: lease.as_ref().map_or(-1, left),
                granted_ttl: lease.as_ref().map_or(0, |lease| seconds(lease.ttl)),
                keys: Vec::new(),
            })
        })
        .await
    }

    async fn lease_leases(&self, _: Request<LeaseLeasesRequest>) -> Answer<LeaseLeasesResponse> {
        absent()
    }
}

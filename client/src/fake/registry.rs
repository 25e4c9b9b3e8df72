//! Registrations. Every instance of a service is selected.

use std::sync::Arc;

use futures::{StreamExt, future};
use prost::Message;
use tenure_proto::v1::{
    self, DeregisterRequest, DeregisterResponse, DiscoverRequest, DiscoverResponse, DrainRequest,
    DrainResponse, RegisterRequest, RegisterResponse, SetReadinessRequest, SetReadinessResponse,
    Snapshot, WatchEndpointsRequest, WatchEndpointsResponse, registry_server::Registry,
    watch_endpoints_response::Change,
};
use tenure_statemachine::{
    Deregister, Drain, InstanceName, LeaseId, Readiness, Register, Revision, SetReadiness, Ttl,
};
use tonic::{Request, Response};

use super::{
    message::tenure_header,
    node::{Answer, Answers, Service},
};

fn readiness(readiness: v1::Readiness) -> Readiness {
    match readiness {
        v1::Readiness::Starting => Readiness::Starting,
        v1::Readiness::Ready => Readiness::Ready,
        v1::Readiness::Draining => Readiness::Draining,
        v1::Readiness::NotReady => Readiness::NotReady,
    }
}

#[tonic::async_trait]
impl Registry for Service {
    type WatchEndpointsStream = Answers<WatchEndpointsResponse>;

    async fn register(&self, request: Request<RegisterRequest>) -> Answer<RegisterResponse> {
        self.take("register", request, |store, arrival, request| {
            let instance = request.instance.unwrap_or_default();
            let register = Register {
                instance: instance.encode_to_vec().into(),
                name: InstanceName {
                    service: instance.service,
                    id: instance.id,
                },
                incarnation: Revision(request.incarnation),
                lease: LeaseId(request.lease),
                grant: None,
            };
            let (incarnation, lease, ttl) = store.write(arrival, register)?;
            Ok(RegisterResponse {
                header: tenure_header(store.revision()),
                incarnation: incarnation.0,
                lease: lease.0,
                ttl_ms: ttl.0,
            })
        })
        .await
    }

    async fn set_readiness(
        &self,
        request: Request<SetReadinessRequest>,
    ) -> Answer<SetReadinessResponse> {
        let command = |request: SetReadinessRequest| SetReadiness {
            readiness: readiness(request.readiness()),
            name: InstanceName {
                service: request.service,
                id: request.id,
            },
            incarnation: Revision(request.incarnation),
        };
        self.execute("set_readiness", request, command).await
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Answer<DrainResponse> {
        let command = |request: DrainRequest| Drain {
            name: InstanceName {
                service: request.service,
                id: request.id,
            },
            incarnation: Revision(request.incarnation),
            grace: Ttl(request.grace_ms),
        };
        self.execute("drain", request, command).await
    }

    async fn deregister(&self, request: Request<DeregisterRequest>) -> Answer<DeregisterResponse> {
        let command = |request: DeregisterRequest| Deregister {
            name: InstanceName {
                service: request.service,
                id: request.id,
            },
            incarnation: Revision(request.incarnation),
        };
        self.execute("deregister", request, command).await
    }

    async fn discover(&self, request: Request<DiscoverRequest>) -> Answer<DiscoverResponse> {
        self.take("discover", request, |store, _, request| {
            Ok(DiscoverResponse {
                header: tenure_header(store.revision()),
                registrations: store.instances(&request.service),
                ..DiscoverResponse::default()
            })
        })
        .await
    }

    /// Sends snapshots only.
    async fn watch_endpoints(
        &self,
        request: Request<WatchEndpointsRequest>,
    ) -> Answer<Self::WatchEndpointsStream> {
        let refused = self.fake.modes.borrow().endpoints_refused.clone();
        if let Some(status) = refused {
            self.fake.change(|store| store.count("refused"));
            return Err(status);
        }
        self.open("watch_endpoints", &request);
        let service = request.into_inner().service;
        let fake = Arc::clone(&self.fake);
        let mut last = None;
        let snapshots = self.follow(move |store| {
            let registrations = store.instances(&service);
            let news = last.replace(registrations.clone()) != Some(registrations.clone());
            let behind = fake.modes.borrow().behind;
            let snapshot = Snapshot {
                registrations,
                all: false,
            };
            news.then(|| WatchEndpointsResponse {
                header: tenure_header(store.revision() - behind),
                change: Some(Change::Snapshot(snapshot)),
            })
        });
        let fake = Arc::clone(&self.fake);
        let snapshots = snapshots.filter_map(move |snapshot| {
            if snapshot.is_some() {
                fake.change(|store| store.count("snapshots"));
            }
            future::ready(snapshot.map(Ok))
        });
        Ok(Response::new(self.breakable(snapshots)))
    }
}

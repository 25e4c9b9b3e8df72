//! Registrations of the fake server. Every instance of a service is selected.

use bytes::Bytes;
use futures::{StreamExt, future, stream::BoxStream};
use prost::Message;
use tenure_proto::{
    mvccpb::KeyValue,
    v1::{
        DeregisterRequest, DeregisterResponse, DiscoverRequest, DiscoverResponse, DrainRequest,
        DrainResponse, Instance, Readiness, RegisterRequest, RegisterResponse, Registration,
        SetReadinessRequest, SetReadinessResponse, Snapshot, WatchEndpointsRequest,
        WatchEndpointsResponse, registry_server::Registry, watch_endpoints_response::Change,
    },
};
use tokio_stream::wrappers::WatchStream;
use tonic::{Code, Request, Response, Status};

use super::{Fake, Store, claims::until_broken, header, refusal};

fn key(service: &str, id: &str) -> Bytes {
    Bytes::from(format!("tenure.services/{service}/{id}"))
}

impl Store {
    pub(crate) fn instances(&self, service: &str) -> Vec<Registration> {
        let prefix = key(service, "");
        let found = self.kvs.values().filter(|kv| kv.key.starts_with(&prefix));
        found
            .map(|kv| Registration {
                instance: Some(Instance::decode(&kv.value[..]).expect("it was encoded here")),
                incarnation: kv.create_revision,
                lease: kv.lease,
                revision: kv.mod_revision,
            })
            .collect()
    }

    fn change_readiness(
        &mut self,
        service: &str,
        id: &str,
        incarnation: i64,
        readiness: Readiness,
    ) -> Result<(), Status> {
        let kv = self.registered(service, id, incarnation)?;
        let mut instance = Instance::decode(&kv.value[..]).expect("it was encoded here");
        instance.set_readiness(readiness);
        self.put(&kv.key, Bytes::from(instance.encode_to_vec()), kv.lease);
        Ok(())
    }

    /// The key of an instance, of whichever life when the incarnation is zero.
    fn registered(&self, service: &str, id: &str, incarnation: i64) -> Result<KeyValue, Status> {
        match self.kvs.get(&key(service, id)) {
            Some(kv) if incarnation == 0 || kv.create_revision == incarnation => Ok(kv.clone()),
            None if incarnation == 0 => Err(refusal("InstanceNotFound", Code::NotFound)),
            _ => Err(refusal("InstanceReplaced", Code::FailedPrecondition)),
        }
    }
}

#[tonic::async_trait]
impl Registry for Fake {
    type WatchEndpointsStream = BoxStream<'static, Result<WatchEndpointsResponse, Status>>;

    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let RegisterRequest {
            instance, lease, ..
        } = request.into_inner();
        self.change(|store| store.count("register"));
        let mut faults = self.faults.subscribe();
        let arrives = faults.wait_for(|faults| !faults.hold_registrations).await;
        drop(arrives.expect("the server lives"));
        let instance = instance.unwrap_or_default();
        let key = key(&instance.service, &instance.id);
        let incarnation = self.change(|store| {
            store.delete(&key);
            store.put(&key, Bytes::from(instance.encode_to_vec()), lease);
            store.revision
        });
        Ok(Response::new(RegisterResponse {
            incarnation,
            lease,
            ..RegisterResponse::default()
        }))
    }

    async fn set_readiness(
        &self,
        request: Request<SetReadinessRequest>,
    ) -> Result<Response<SetReadinessResponse>, Status> {
        let asked = request.into_inner();
        let readiness = asked.readiness();
        self.change(|store| {
            store.change_readiness(&asked.service, &asked.id, asked.incarnation, readiness)
        })?;
        Ok(Response::new(SetReadinessResponse::default()))
    }

    async fn drain(
        &self,
        request: Request<DrainRequest>,
    ) -> Result<Response<DrainResponse>, Status> {
        self.write(request, |store, asked| {
            let draining = Readiness::Draining;
            store.change_readiness(&asked.service, &asked.id, asked.incarnation, draining)?;
            Ok(DrainResponse::default())
        })
    }

    async fn deregister(
        &self,
        request: Request<DeregisterRequest>,
    ) -> Result<Response<DeregisterResponse>, Status> {
        self.write(request, |store, asked| {
            let kv = store.registered(&asked.service, &asked.id, asked.incarnation)?;
            store.delete(&kv.key);
            Ok(DeregisterResponse::default())
        })
    }

    async fn discover(
        &self,
        request: Request<DiscoverRequest>,
    ) -> Result<Response<DiscoverResponse>, Status> {
        let registrations = self.store.lock().instances(&request.get_ref().service);
        Ok(Response::new(DiscoverResponse {
            registrations,
            ..DiscoverResponse::default()
        }))
    }

    async fn watch_endpoints(
        &self,
        request: Request<WatchEndpointsRequest>,
    ) -> Result<Response<Self::WatchEndpointsStream>, Status> {
        if self.faults.borrow().down {
            self.change(|store| store.count("refused"));
            return Err(Status::unavailable("tenure: there is no quorum"));
        }
        if self.faults.borrow().closed {
            self.change(|store| store.count("refused"));
            return Err(Status::permission_denied("etcdserver: permission denied"));
        }
        self.opens("endpoints stream", &request);
        let service = request.into_inner().service;
        let fake = self
            .itself
            .upgrade()
            .expect("the server lives while it is asked");
        let mut last = None;
        let changes = WatchStream::new(self.changed.subscribe());
        let snapshots = changes.filter_map({
            let fake = std::sync::Arc::clone(&fake);
            move |_| {
                let store = fake.store.lock();
                let registrations = store.instances(&service);
                let news = last.replace(registrations.clone()) != Some(registrations.clone());
                let snapshot = Snapshot {
                    registrations,
                    all: false,
                };
                let message = WatchEndpointsResponse {
                    header: header(store.revision - fake.faults.borrow().behind),
                    change: Some(Change::Snapshot(snapshot)),
                };
                drop(store);
                if news {
                    fake.change(|store| store.count("endpoints word"));
                }
                future::ready(news.then_some(Ok(message)))
            }
        });
        Ok(Response::new(until_broken(fake, snapshots)))
    }
}

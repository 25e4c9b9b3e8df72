//! The services of one node, and the faults in them.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use tenure_proto::{
    etcdserverpb::{
        self as etcd,
        auth_server::AuthServer,
        kv_server::{Kv, KvServer},
        lease_server::{Lease, LeaseServer},
    },
    v1::{
        self,
        session_server::{Session, SessionServer},
    },
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, Streaming, transport::Server};

use super::{
    Fault,
    store::{Arrival, Store, refusal},
    wire::Wire,
};

pub(super) type Answer<T> = Result<Response<T>, Status>;

#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) index: usize,
    pub(super) store: Arc<Mutex<Store>>,
    pub(super) faults: Arc<Mutex<VecDeque<Fault>>>,
    pub(super) renewals_muted: Arc<AtomicBool>,
    pub(super) wire: Wire,
}

/// Serves at the far end of the wire until the test ends.
pub(super) async fn serve(service: Service) {
    let incoming = TcpListenerStream::new(service.wire.far_end());
    let is_tenure = service.store.lock().is_tenure;
    let session = is_tenure.then(|| SessionServer::new(service.clone()));
    let server = Server::builder()
        .add_service(KvServer::new(service.clone()))
        .add_service(AuthServer::new(service.clone()))
        .add_service(LeaseServer::new(service))
        .add_optional_service(session)
        .serve_with_incoming(incoming);
    tokio::spawn(server);
}

impl Service {
    /// Takes one call, with the next fault that is planned.
    async fn take<Message, T>(
        &self,
        call: &'static str,
        request: Request<Message>,
        execute: impl FnOnce(&mut Store, &Arrival, Message) -> Result<T, Status> + Send,
    ) -> Answer<T> {
        let (metadata, _, message) = request.into_parts();
        let arrival = Arrival::read(self.index, call, &metadata);
        self.store.lock().arrivals.push(arrival.clone());
        let fault = self.faults.lock().pop_front();
        match &fault {
            Some(Fault::CutBefore) => {
                self.wire.cut();
                return pending().await;
            }
            Some(Fault::Mute) => return pending().await,
            Some(Fault::Answer(status)) => return Err(status.clone()),
            _ => {}
        }
        let outcome = execute(&mut self.store.lock(), &arrival, message);
        match fault {
            Some(Fault::CutAfter) => self.wire.cut(),
            Some(Fault::ForgetAfter) => {
                self.store.lock().sessions.clear();
                self.wire.cut();
            }
            Some(Fault::MuteAfter) => {}
            _ => return outcome.map(Response::new),
        }
        pending().await
    }

    async fn mutate<Message, T>(
        &self,
        call: &'static str,
        request: Request<Message>,
        execute: impl FnOnce(&mut Store, Message) -> T + Send,
    ) -> Answer<T>
    where
        Message: Described,
        T: prost::Message + Default,
    {
        let mutate = |store: &mut Store, arrival: &Arrival, message: Message| {
            let what = format!("{call}{}", message.describe());
            store.mutate(arrival, what, |store| execute(store, message))
        };
        self.take(call, request, mutate).await
    }
}

/// How a request shows among what was executed.
trait Described {
    fn describe(&self) -> String {
        String::new()
    }
}

impl Described for etcd::PutRequest {
    fn describe(&self) -> String {
        let text = String::from_utf8_lossy;
        format!(" {} = {}", text(&self.key), text(&self.value))
    }
}

impl Described for etcd::TxnRequest {}
impl Described for etcd::DeleteRangeRequest {}
impl Described for etcd::CompactionRequest {}
impl Described for etcd::LeaseGrantRequest {}
impl Described for etcd::LeaseRevokeRequest {}

#[tonic::async_trait]
impl Kv for Service {
    type RangeStreamStream = BoxStream<'static, Result<etcd::RangeStreamResponse, Status>>;

    async fn range(&self, request: Request<etcd::RangeRequest>) -> Answer<etcd::RangeResponse> {
        let read = |store: &mut Store, _: &Arrival, range| Ok(store.range(&range));
        self.take("range", request, read).await
    }

    async fn range_stream(
        &self,
        _: Request<etcd::RangeRequest>,
    ) -> Answer<Self::RangeStreamStream> {
        Ok(Response::new(futures::stream::pending().boxed()))
    }

    async fn put(&self, request: Request<etcd::PutRequest>) -> Answer<etcd::PutResponse> {
        self.mutate("put", request, Store::put).await
    }

    async fn delete_range(
        &self,
        request: Request<etcd::DeleteRangeRequest>,
    ) -> Answer<etcd::DeleteRangeResponse> {
        let delete = |_: &mut Store, _| etcd::DeleteRangeResponse::default();
        self.mutate("delete", request, delete).await
    }

    async fn txn(&self, request: Request<etcd::TxnRequest>) -> Answer<etcd::TxnResponse> {
        self.mutate("txn", request, Store::txn).await
    }

    async fn compact(
        &self,
        request: Request<etcd::CompactionRequest>,
    ) -> Answer<etcd::CompactionResponse> {
        let compact = |_: &mut Store, _| etcd::CompactionResponse::default();
        self.mutate("compact", request, compact).await
    }
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
    type LeaseKeepAliveStream = BoxStream<'static, Result<etcd::LeaseKeepAliveResponse, Status>>;

    async fn lease_grant(
        &self,
        request: Request<etcd::LeaseGrantRequest>,
    ) -> Answer<etcd::LeaseGrantResponse> {
        let grant = |_: &mut Store, _| etcd::LeaseGrantResponse::default();
        self.mutate("grant", request, grant).await
    }

    async fn lease_revoke(
        &self,
        request: Request<etcd::LeaseRevokeRequest>,
    ) -> Answer<etcd::LeaseRevokeResponse> {
        let revoke = |_: &mut Store, _| etcd::LeaseRevokeResponse::default();
        self.mutate("revoke", request, revoke).await
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<etcd::LeaseKeepAliveRequest>>,
    ) -> Answer<Self::LeaseKeepAliveStream> {
        let service = self.clone();
        let renewing = Renewing::begin(&self.store);
        let answers = request.into_inner().then(move |renewal| {
            let _open = &renewing;
            let service = service.clone();
            async move {
                let id = renewal?.id;
                if service.renewals_muted.load(Ordering::SeqCst) {
                    return pending().await;
                }
                let store = service.store.lock();
                let ttl_ms = store.sessions.get(&id).map_or(0, |session| session.ttl_ms);
                Ok(etcd::LeaseKeepAliveResponse {
                    header: store.header(),
                    id,
                    ttl: i64::try_from(ttl_ms.div_ceil(1_000)).unwrap(),
                })
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        _: Request<etcd::LeaseTimeToLiveRequest>,
    ) -> Answer<etcd::LeaseTimeToLiveResponse> {
        Err(Status::unimplemented(""))
    }

    async fn lease_leases(
        &self,
        _: Request<etcd::LeaseLeasesRequest>,
    ) -> Answer<etcd::LeaseLeasesResponse> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl Session for Service {
    async fn open(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Answer<v1::OpenSessionResponse> {
        let ttl_ms = request.into_inner().ttl_ms;
        let session = self.store.lock().open_session(ttl_ms);
        Ok(Response::new(v1::OpenSessionResponse {
            header: None,
            session,
            ttl_ms,
        }))
    }

    async fn close(
        &self,
        request: Request<v1::CloseSessionRequest>,
    ) -> Answer<v1::CloseSessionResponse> {
        let close = |store: &mut Store, _: &Arrival, request: v1::CloseSessionRequest| {
            let closed = store.sessions.remove(&request.session);
            let unknown = || refusal(Code::NotFound, "SessionNotFound", None);
            let answer = v1::CloseSessionResponse::default();
            closed.map(|_| answer).ok_or_else(unknown)
        };
        self.take("close", request, close).await
    }

    async fn inspect(
        &self,
        _: Request<v1::InspectSessionRequest>,
    ) -> Answer<v1::InspectSessionResponse> {
        Err(refusal(Code::NotFound, "SessionNotFound", None))
    }

    async fn set_will(&self, _: Request<v1::SetWillRequest>) -> Answer<v1::SetWillResponse> {
        Err(Status::unimplemented(""))
    }
}

//! Servers of gRPC in this process, as instances of a service.
//!
//! They serve a call that is small and at hand, etcd's `Lock`; what it locks elsewhere is of no
//! concern here. An answer says which server gave it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tenure::Balancer;
use tenure_proto::v3lockpb::{
    LockRequest, LockResponse, UnlockRequest, UnlockResponse,
    lock_client::LockClient,
    lock_server::{Lock, LockServer},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// The name that is asked for by a call whose answer waits until the server is told.
const SLOW: &str = "slow";

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    state: Arc<State>,
    port: u16,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    name: String,
    calls: AtomicUsize,
    /// Whether slow calls are answered.
    answering: watch::Sender<bool>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    pub(super) async fn start(name: &str) -> Self {
        let state = Arc::new(State {
            name: name.to_owned(),
            calls: AtomicUsize::new(0),
            answering: watch::Sender::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = LockServer::from_arc(Arc::new(Answering(Arc::clone(&state))));
        let serving = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self {
            state,
            port,
            serving,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.state.name
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Calls that have come in.
    pub(super) fn calls(&self) -> usize {
        self.state.calls.load(Ordering::SeqCst)
    }

    /// Answers the calls that wait, and those to come.
    pub(super) fn answer(&self) {
        self.state.answering.send_replace(true);
    }
}

struct Answering(Arc<State>);

#[tonic::async_trait]
impl Lock for Answering {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        if request.get_ref().name == SLOW {
            let mut answering = self.0.answering.subscribe();
            let answering = answering.wait_for(|answering| *answering).await;
            answering.expect("the state lives as long as its server");
        }
        Ok(Response::new(LockResponse {
            key: self.0.name.clone().into(),
            ..LockResponse::default()
        }))
    }

    async fn unlock(&self, _: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        Err(Status::unimplemented("nothing is locked here"))
    }
}

/// Makes a call through a balancer; who answered.
pub(super) async fn call(balancer: &Balancer) -> Result<String, Status> {
    ask(balancer, "fast").await
}

/// The same for an answer that waits until the server is told.
pub(super) async fn call_slow(balancer: &Balancer) -> Result<String, Status> {
    ask(balancer, SLOW).await
}

async fn ask(balancer: &Balancer, name: &'static str) -> Result<String, Status> {
    let request = LockRequest {
        name: name.into(),
        lease: 0,
    };
    let answer = LockClient::new(balancer.clone()).lock(request).await?;
    Ok(String::from_utf8(answer.into_inner().key.to_vec()).unwrap())
}

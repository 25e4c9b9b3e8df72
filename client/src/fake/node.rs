//! One node: its connection, and the injection of faults into its calls.

use std::{future::pending, sync::Arc};

use futures::{Stream, StreamExt, future, stream, stream::BoxStream};
use tenure_proto::{
    etcdserverpb::{
        auth_server::AuthServer, kv_server::KvServer, lease_server::LeaseServer,
        watch_server::WatchServer,
    },
    metadata::{OUTCOME_METADATA, OUTCOME_UNKNOWN},
    v1::{
        election_server::ElectionServer, fence_server::FenceServer, lock_server::LockServer,
        registry_server::RegistryServer, session_server::SessionServer,
    },
};
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status, transport::Server};

use super::{
    Fake,
    arrival::Arrival,
    fault::{Fault, Faults},
    store::Store,
    wire::Wire,
};

pub(super) type Answer<T> = Result<Response<T>, Status>;
pub(super) type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// The calls that the faults of a node are planned for.
pub(super) const PLANNED: &[&str] = &[
    "range", "put", "delete", "txn", "compact", "grant", "revoke", "close",
];

/// Handle of one node for tests.
#[derive(Debug)]
pub(crate) struct Node {
    index: usize,
    pub(crate) wire: Wire,
    faults: Faults,
}

impl Node {
    pub(super) async fn lay(index: usize, faults: Faults) -> Self {
        let wire = Wire::lay().await;
        Self {
            index,
            wire,
            faults,
        }
    }

    /// Makes the next calls of the key space and the next ends of sessions fail in these ways, one
    /// each.
    pub(crate) fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.plan(Some(self.index), PLANNED, faults);
    }

    /// Returns how many of the planned faults have not happened yet.
    pub(crate) fn planned(&self) -> usize {
        self.faults.planned(Some(self.index))
    }
}

/// The services of one node.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) fake: Arc<Fake>,
    node: usize,
}

/// Serves the far end of a node's proxy until the test ends.
pub(super) fn serve(fake: &Arc<Fake>, node: usize) {
    let service = Service {
        fake: Arc::clone(fake),
        node,
    };
    let incoming = TcpListenerStream::new(fake.nodes[node].wire.far_end());
    let server = Server::builder()
        .add_service(KvServer::new(service.clone()))
        .add_service(WatchServer::new(service.clone()))
        .add_service(LeaseServer::new(service.clone()))
        .add_service(AuthServer::new(service.clone()));
    let server = if fake.store.lock().is_tenure {
        server
            .add_service(SessionServer::new(service.clone()))
            .add_service(FenceServer::new(service.clone()))
            .add_service(LockServer::new(service.clone()))
            .add_service(ElectionServer::new(service.clone()))
            .add_service(RegistryServer::new(service))
    } else {
        server
    };
    tokio::spawn(server.serve_with_incoming(incoming));
}

impl Service {
    /// Receives a call, applies the next fault that is planned for it, and executes it.
    pub(super) async fn take<Message: Send + 'static, T: Send + 'static>(
        &self,
        call: &'static str,
        request: Request<Message>,
        execute: impl FnOnce(&mut Store, &Arrival, Message) -> Result<T, Status> + Send + 'static,
    ) -> Answer<T> {
        let (metadata, _, message) = request.into_parts();
        let arrival = Arrival::read(self.node, call, &metadata);
        self.fake.change(|store| store.arrive(arrival.clone()));
        let wire = &self.fake.nodes[self.node].wire;
        self.fake.store.lock().check_token(&arrival)?;
        let fault = self.fake.faults.take(self.node, call);
        match &fault {
            Some(Fault::CutBefore) => {
                wire.cut();
                return pending().await;
            }
            Some(Fault::Mute) => return pending().await,
            Some(Fault::Answer(status)) => return Err(status.clone()),
            Some(Fault::Hold) => released(&self.fake).await,
            Some(Fault::Late) => {
                let fake = Arc::clone(&self.fake);
                tokio::spawn(async move {
                    released(&fake).await;
                    // The store shows its outcome.
                    _ = fake.change(|store| execute(store, &arrival, message));
                    fake.change(|store| store.count("late"));
                });
                return pending().await;
            }
            _ => {}
        }
        let outcome = self.fake.change(|store| execute(store, &arrival, message));
        match fault {
            Some(Fault::CutAfter) => wire.cut(),
            Some(Fault::ForgetAfter) => {
                self.fake.change(Store::end_leases);
                wire.cut();
            }
            Some(Fault::MuteAfter) => {}
            Some(Fault::LoseAnswer) => return Err(unknown_outcome()),
            Some(Fault::EndLeasesAfter) => {
                self.fake.change(Store::end_leases);
                return outcome.map(Response::new);
            }
            _ => return outcome.map(Response::new),
        }
        pending().await
    }

    /// Receives a call that opens a stream and changes nothing.
    pub(super) fn open<Message>(&self, call: &'static str, request: &Request<Message>) {
        let arrival = Arrival::read(self.node, call, request.metadata());
        self.fake.change(|store| store.arrive(arrival));
    }

    /// Streams what `look` finds in the store, now and after every change.
    pub(super) fn follow<T: Send + 'static>(
        &self,
        mut look: impl FnMut(&Store) -> T + Send + 'static,
    ) -> impl Stream<Item = T> + Send + 'static {
        let store = Arc::clone(&self.fake.store);
        let changes = WatchStream::new(self.fake.changed.subscribe());
        changes.map(move |_| look(&store.lock()))
    }

    /// Ends a stream with an error when streams are broken.
    pub(super) fn breakable<T: Send + 'static>(
        &self,
        messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Answers<T> {
        let brief = self.fake.modes.borrow().brief;
        let stops = || Err(Status::unavailable("tenure: the server stops"));
        let mut generation = self.fake.generation.subscribe();
        let broken = async move {
            // The sender lives as long as the server.
            _ = generation.changed().await;
            stops()
        };
        let enough = async move {
            if !brief {
                pending::<()>().await;
            }
            stops()
        };
        let messages_max = if brief { 1 } else { usize::MAX };
        let messages = messages.take(messages_max).chain(stream::once(enough));
        until_error(stream::select(messages, stream::once(broken))).boxed()
    }
}

/// Ends a stream with its first error.
fn until_error<T>(
    messages: impl Stream<Item = Result<T, Status>>,
) -> impl Stream<Item = Result<T, Status>> {
    let mut over = false;
    messages.take_while(move |message| {
        let done = std::mem::replace(&mut over, message.is_err());
        future::ready(!done)
    })
}

/// Waits until requests are no longer held.
async fn released(fake: &Fake) {
    let mut modes = fake.modes.subscribe();
    let released = modes.wait_for(|modes| !modes.held).await;
    drop(released.expect("the server lives"));
}

fn unknown_outcome() -> Status {
    let mut status = Status::unavailable("tenure: the server stops");
    let unknown = OUTCOME_UNKNOWN.parse().expect("that is ASCII");
    status.metadata_mut().insert(OUTCOME_METADATA, unknown);
    status
}

/// The response to a call that no test uses.
pub(super) fn absent<T>() -> Answer<T> {
    Err(Status::unimplemented("the tests do not need this"))
}

//! A server of tenure in this process, small enough to be seen through: one map of keys, exclusive
//! claims, remembered requests, and faults on demand. For tests only.

mod claims;
mod keys;
mod registry;
mod session;
mod store;
mod write;

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tenure_proto::{
    etcdserverpb::{kv_server::KvServer, lease_server::LeaseServer, watch_server::WatchServer},
    v1::{
        election_server::ElectionServer, fence_server::FenceServer, lock_server::LockServer,
        registry_server::RegistryServer, session_server::SessionServer,
    },
};
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Status, metadata::MetadataMap, transport::Server};

pub(crate) use store::Store;

use crate::Client;

/// What goes wrong, for as long as it is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Renewals are not answered.
    pub(crate) mute: bool,
    /// The next acquisition is held up on its way, and never answered.
    pub(crate) stall: bool,
    /// What was held up arrives.
    pub(crate) late: bool,
    /// The next acquisition is executed, its stream breaks without a word, and the one after it
    /// is not permitted.
    pub(crate) lose_word: bool,
    /// The next acquisition is not permitted.
    pub(crate) deny: bool,
    /// The next release does not arrive, and the one after it is not permitted.
    pub(crate) lose_release: bool,
    /// The next release is not permitted.
    pub(crate) deny_release: bool,
    /// Requests that are sent again are refused as forgotten.
    pub(crate) forgetful: bool,
    /// Endpoints cannot be watched.
    pub(crate) down: bool,
    /// Nobody may watch endpoints.
    pub(crate) closed: bool,
    /// How far endpoints are told behind the present revision.
    pub(crate) behind: i64,
    /// Registrations do not arrive.
    pub(crate) hold_registrations: bool,
    /// Claims are granted under another name.
    pub(crate) misname: bool,
    /// Streams break after their first word.
    pub(crate) brief: bool,
    /// All leases end when the next range has been answered.
    pub(crate) end_leases: bool,
    /// The next write of a key, or of a service that operators ask, takes effect, and its answer
    /// is lost.
    pub(crate) lose_answer: bool,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) store: Mutex<Store>,
    pub(crate) faults: watch::Sender<Faults>,
    /// For streams, which outlive the call that opened them.
    itself: Weak<Self>,
    /// Told after every change of the store.
    changed: watch::Sender<u64>,
    /// Streams that were opened under another number end.
    generation: watch::Sender<u64>,
}

impl Fake {
    /// Starts a server and a client of it.
    pub(crate) async fn start() -> (Arc<Self>, Client) {
        let fake = Arc::new_cyclic(|itself| Self {
            itself: Weak::clone(itself),
            store: Mutex::default(),
            faults: watch::Sender::default(),
            changed: watch::Sender::default(),
            generation: watch::Sender::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let server = Server::builder()
            .add_service(SessionServer::from_arc(Arc::clone(&fake)))
            .add_service(FenceServer::from_arc(Arc::clone(&fake)))
            .add_service(LockServer::from_arc(Arc::clone(&fake)))
            .add_service(ElectionServer::from_arc(Arc::clone(&fake)))
            .add_service(RegistryServer::from_arc(Arc::clone(&fake)))
            .add_service(KvServer::from_arc(Arc::clone(&fake)))
            .add_service(WatchServer::from_arc(Arc::clone(&fake)))
            .add_service(LeaseServer::from_arc(Arc::clone(&fake)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let client = Client::connect([address.to_string()]).await;
        (fake, client.expect("that is an address"))
    }

    /// Changes the store and tells everybody.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let outcome = change(&mut self.store.lock());
        self.changed.send_modify(|count| *count += 1);
        outcome
    }

    pub(crate) fn fault(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.send_modify(change);
    }

    /// Ends every stream that waits.
    pub(crate) fn break_streams(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Waits until the store is in a state.
    pub(crate) async fn until(&self, wanted: impl Fn(&Store) -> bool) {
        let mut changed = self.changed.subscribe();
        let reached = async {
            while !wanted(&self.store.lock()) {
                changed.changed().await.expect("the server lives");
            }
        };
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, reached)
            .await
            .unwrap_or_else(|_| panic!("not reached: {:?}", self.store.lock()));
    }

    /// Takes note of a stream that is opened.
    fn opens<T>(&self, call: &'static str, request: &Request<T>) {
        let led = request.metadata().get("hasleader");
        let led = led.is_some_and(|led| led == "true");
        self.change(|store| {
            store.count(call);
            if led {
                store.led.insert(call);
            }
        });
    }

    /// Ready when streams are to end.
    async fn broken(&self) {
        let mut generation = self.generation.subscribe();
        // The sender lives as long as the server.
        let _ = generation.changed().await;
    }
}

/// The session and the sequence of a request, if it has them.
fn request_id(metadata: &MetadataMap) -> Option<(i64, u64)> {
    let text = metadata.get("tenure-request")?.to_str().ok()?;
    let mut parts = text.split('.');
    let session = i64::from_str_radix(parts.next()?, 16).ok()?;
    Some((session, parts.next()?.parse().ok()?))
}

/// A refusal with one of tenure's own reasons.
fn refusal(reason: &'static str, code: tonic::Code) -> Status {
    let mut status = Status::new(code, format!("tenure: {reason}"));
    let value = reason.parse().expect("a reason is ASCII");
    status.metadata_mut().insert("tenure-reason", value);
    status
}

fn header(revision: i64) -> Option<tenure_proto::v1::Header> {
    Some(tenure_proto::v1::Header {
        revision,
        ..Default::default()
    })
}

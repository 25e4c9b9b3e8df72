//! A small cluster in this process: one store, several nodes that serve it, and a wire to each that
//! can be cut.
//!
//! The store is written independently of the state machine and only knows what these tests need.

mod auth;
mod service;
mod store;
mod wire;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tenure::{Client, ClientBuilder};
use tonic::Status;

pub(crate) use store::{Arrival, Store};
pub(crate) use wire::Wire;

/// Long enough for everything these tests wait for, short enough to notice a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What goes wrong with one call.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The connection breaks before the request has any effect.
    CutBefore,
    /// The request is executed, then the connection breaks.
    CutAfter,
    /// The request is executed, then every session is forgotten and the connection breaks.
    ForgetAfter,
    /// The request is executed and never answered.
    MuteAfter,
    /// The request is neither executed nor answered.
    Mute,
    /// The request is not executed and answered with this.
    Answer(Status),
}

/// One node: a service, and the wire to it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) wire: Wire,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    renewals_muted: Arc<AtomicBool>,
}

impl Node {
    /// The next calls of the key space and the next ends of sessions fail in these ways, one each.
    pub(crate) fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().extend(faults);
    }

    /// How many of the planned faults have not happened.
    pub(crate) fn planned(&self) -> usize {
        self.faults.lock().len()
    }

    /// Renewals are not answered from now on.
    pub(crate) fn mute_renewals(&self) {
        self.renewals_muted.store(true, Ordering::SeqCst);
    }
}

/// The nodes and what they share.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) nodes: Vec<Node>,
}

impl Cluster {
    /// So many nodes of tenure.
    pub(crate) async fn of(nodes: usize) -> Self {
        Self::start(nodes, Store::of_tenure()).await
    }

    /// One node that knows nothing of guards, request ids and sessions, like etcd.
    pub(crate) async fn of_etcd() -> Self {
        Self::start(1, Store::of_etcd()).await
    }

    async fn start(nodes: usize, store: Store) -> Self {
        let store = Arc::new(Mutex::new(store));
        let mut cluster = Self {
            store: Arc::clone(&store),
            nodes: Vec::new(),
        };
        for index in 0..nodes {
            let wire = Wire::lay().await;
            let faults = Arc::default();
            let renewals_muted = Arc::default();
            service::serve(service::Service {
                index,
                store: Arc::clone(&store),
                faults: Arc::clone(&faults),
                renewals_muted: Arc::clone(&renewals_muted),
                wire: wire.clone(),
            })
            .await;
            cluster.nodes.push(Node {
                wire,
                faults,
                renewals_muted,
            });
        }
        cluster
    }

    /// A client of all nodes, with what `adjust` changes.
    pub(crate) async fn client_with(
        &self,
        adjust: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Client {
        let addresses = self.nodes.iter().map(|node| node.wire.address());
        let builder = adjust(Client::builder().endpoints(addresses).timeout(PATIENCE));
        builder
            .connect()
            .await
            .expect("the endpoints are addresses")
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_with(|builder| builder).await
    }

    /// What was executed, in order, such as `put k = v`.
    pub(crate) fn executed(&self) -> Vec<String> {
        self.store.lock().executed.clone()
    }

    /// The calls of the key space, and the ends of sessions, that arrived at any node.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.store.lock().arrivals.clone()
    }
}

/// Waits until `reached`; the state is looked at whenever something else has run.
pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "never happened: {what}");
}

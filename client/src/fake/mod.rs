//! A server for tests, in the process of the test: the state machine over its memory engine, served
//! over gRPC by one node or several, with faults on demand.
//!
//! State and rules are the real ones; limits, freshness and consensus are left out. All nodes serve
//! one state. Time is that of the tokio runtime; the state gets it only in commands, so nothing
//! expires without a command.

mod arrival;
mod auth;
mod election;
mod fault;
mod fence;
mod kv;
mod lease;
mod lock;
mod message;
mod node;
mod registry;
mod session;
mod store;
mod watch;
mod wire;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::watch as channel;

pub(crate) use arrival::Arrival;
pub(crate) use fault::{Fault, Faults, Modes};
pub(crate) use node::Node;
pub(crate) use store::Store;

use crate::{Client, ClientBuilder};

/// Timeout of waits in tests: longer than any of them takes, short enough to notice a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Calls that change the state and are answered at once.
const WRITES: &[&str] = &[
    "put",
    "delete",
    "txn",
    "compact",
    "grant",
    "revoke",
    "close",
    "drain",
    "deregister",
    "hand_over",
    "set_policy",
    "remove_policy",
];

/// The server: the state shared by its nodes.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) nodes: Vec<Node>,
    faults: Faults,
    modes: channel::Sender<Modes>,
    /// Notified after every change of the store.
    changed: channel::Sender<u64>,
    /// A stream ends when this differs from the number at its opening.
    generation: channel::Sender<u64>,
}

impl Fake {
    /// Starts a server of one node, and a client of it.
    pub(crate) async fn start() -> (Arc<Self>, Client) {
        let fake = Self::of(1).await;
        let client = fake.client().await;
        (fake, client)
    }

    /// Starts several nodes of tenure.
    pub(crate) async fn of(nodes: usize) -> Arc<Self> {
        Self::with(nodes, Store::of_tenure()).await
    }

    /// Starts one node without guards, request ids and tenure's services, as etcd.
    pub(crate) async fn of_etcd() -> Arc<Self> {
        Self::with(1, Store::of_etcd()).await
    }

    async fn with(nodes: usize, store: Store) -> Arc<Self> {
        let faults = Faults::default();
        let mut laid = Vec::new();
        for index in 0..nodes {
            laid.push(Node::lay(index, faults.clone()).await);
        }
        let fake = Arc::new(Self {
            store: Arc::new(Mutex::new(store)),
            nodes: laid,
            faults,
            modes: channel::Sender::default(),
            changed: channel::Sender::default(),
            generation: channel::Sender::default(),
        });
        for index in 0..nodes {
            node::serve(&fake, index);
        }
        fake
    }

    /// A client of all nodes.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(|builder| builder).await
    }

    /// A client of all nodes, with the settings that `adjust` makes.
    pub(crate) async fn client_with(
        &self,
        adjust: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Client {
        let addresses = self.nodes.iter().map(|node| node.wire.address());
        let addresses = Vec::from_iter(addresses);
        let builder = adjust(Client::builder().endpoints(addresses).timeout(PATIENCE));
        let client = builder.connect().await;
        client.expect("the endpoints are addresses")
    }

    /// Changes the store and notifies everything that waits for it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let outcome = change(&mut self.store.lock());
        self.changed.send_modify(|count| *count += 1);
        outcome
    }

    /// Makes the next of these calls, at any node, fail in these ways, one each.
    pub(crate) fn plan(
        &self,
        calls: &'static [&'static str],
        faults: impl IntoIterator<Item = Fault>,
    ) {
        self.faults.plan(None, calls, faults);
    }

    /// Makes the next write lose its answer after its execution.
    pub(crate) fn lose_answer(&self) {
        self.plan(WRITES, [Fault::LoseAnswer]);
    }

    /// Returns how many of the planned faults have not happened yet.
    pub(crate) fn planned(&self) -> usize {
        self.faults.planned(None)
    }

    /// Changes the lasting faults.
    pub(crate) fn mode(&self, change: impl FnOnce(&mut Modes)) {
        self.modes.send_modify(change);
    }

    /// Ends every open stream.
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
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("not reached: {:?}", self.store.lock()));
    }

    /// Returns the executed commands of the key space through any node, in order, such as `put k =
    /// v`.
    pub(crate) fn executed(&self) -> Vec<String> {
        self.store.lock().executed.clone()
    }

    /// The calls of the key space, and the ends of sessions, that arrived at any node.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        let store = self.store.lock();
        let arrivals = store.arrivals.iter();
        let counted = arrivals.filter(|arrival| node::PLANNED.contains(&arrival.call));
        counted.cloned().collect()
    }
}

/// Polls until `reached`, for states without a notification.
pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            // Pause between two polls.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "never happened: {what}");
}

//! The client's recipes and shared locks, used at once by clients at all nodes of a quorum.
//!
//! What they do when a single answer is lost is tested in the client, against a server in the same
//! process. Here they have real elections, real leases that run out, and each other.

mod counting;
mod gathering;
mod queueing;
mod sharing;

use std::time::Duration;

use tenure::Client;
use tenure_testkit::Cluster;
use tokio::runtime::{Builder, Runtime};

/// Deadline of a call: an election lies well within it.
const CALL_MAX: Duration = Duration::from_secs(20);

/// A client that calls `node` first.
async fn client_at(cluster: &Cluster, node: usize) -> Client {
    client_of(cluster.addresses_from(node)).await
}

async fn client_of(addresses: Vec<String>) -> Client {
    let builder = Client::builder().endpoints(addresses).timeout(CALL_MAX);
    builder.connect().await.unwrap()
}

/// A program with tasks and connections of its own, which can end as if it were killed: nothing of
/// it runs on, so nothing that it holds is given back or renewed.
struct Mortal(Option<Runtime>);

impl Mortal {
    fn born() -> Self {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all();
        Self(Some(runtime.build().unwrap()))
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.0.as_ref().expect("it lives until it is dropped");
        runtime.spawn(work);
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

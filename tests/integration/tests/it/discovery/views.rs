//! Streams of endpoints that fall behind, while the history they would need is given up.

use std::time::Duration;

use futures::future::try_join_all;
use tenure::{Client, EndpointChange, EndpointWatch, Instance, Revision, Selector};
use tenure_proto::v1::{
    RegisterRequest, WatchEndpointsRequest, registry_client::RegistryClient,
    watch_endpoints_response::Change,
};
use tenure_testkit::{Cluster, STATE_MAX};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::{SERVICE, client};

/// Instances; each says a lot of itself.
const INSTANCES: usize = 8;
/// What an instance says of itself, in bytes: below the 64 KiB that it may.
const DESCRIPTION_LEN: usize = 56 << 10;
/// Registrations of each instance. Together they are more than a node keeps for a stream that
/// does not read (16 MiB, and 16 responses).
const LIVES: usize = 90;
/// What a stream takes that nobody reads: the least that HTTP/2 allows for.
const WINDOW_LEN: u32 = 65_535;
/// TTL of the leases that the instances are on.
const TTL_S: i64 = 600;
/// Longest pause within what a stream has to tell.
const NEXT_MAX: Duration = Duration::from_secs(20);

async fn registry(address: &str) -> RegistryClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.initial_stream_window_size(WINDOW_LEN);
    RegistryClient::new(endpoint.connect().await.unwrap()).max_decoding_message_size(usize::MAX)
}

fn described(number: usize, life: usize) -> Instance {
    let description = format!("{life:0>DESCRIPTION_LEN$}");
    Instance::new(SERVICE, format!("i{number}"))
        .endpoint("grpc", "127.0.0.1", 80)
        .weight(u16::try_from(life + 1).unwrap())
        .metadata("description", description)
}

/// Registers every instance again and again.
async fn live(cluster: &Cluster) {
    let calls = cluster.node(0).calls();
    let lease = calls.grant(TTL_S).await.unwrap();
    let registry = registry(cluster.node(0).address()).await;
    let living = (0..INSTANCES).map(|number| {
        let mut registry = registry.clone();
        async move {
            for life in 0..LIVES {
                let request = RegisterRequest {
                    instance: Some(described(number, life).into_wire()),
                    lease,
                    ..RegisterRequest::default()
                };
                registry.register(request).await?;
            }
            Ok::<(), tonic::Status>(())
        }
    });
    try_join_all(living).await.unwrap();
}

/// Gives up all history, and returns the revision that is left.
async fn compact(client: &Client) -> Revision {
    let put = client.put("last", "").await.unwrap();
    let revision = put.revision();
    client
        .maintenance()
        .compact(revision)
        .physical()
        .await
        .unwrap();
    revision
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_fell_behind_compacted_history_goes_on_with_a_snapshot() {
    let cluster = Cluster::start(1).await;
    let client = client(&cluster).await;
    let mut registry = registry(cluster.node(0).address()).await;
    let request = WatchEndpointsRequest {
        service: SERVICE.to_owned(),
        selector: None,
    };
    let stream = registry.watch_endpoints(request).await.unwrap();
    let mut stream = stream.into_inner();
    let selector = Selector::default();
    let watch = client.registry().watch_endpoints(SERVICE, selector).await;
    let mut watch = watch.unwrap();
    // Nobody reads meanwhile.
    live(&cluster).await;
    let compacted = compact(&client).await;
    let last = LIVES.to_string();

    let mut snapshots = 0;
    let mut known = std::collections::BTreeMap::new();
    while known.len() < INSTANCES || known.values().any(|life| *life != last) {
        let told = timeout(NEXT_MAX, stream.message()).await;
        let told = told.unwrap_or_else(|_| panic!("the stream stays at {known:?}"));
        let response = told.expect("a stream of endpoints does not fail");
        let response = response.expect("a stream of endpoints does not end");
        let updated = match response.change.unwrap() {
            Change::Snapshot(snapshot) => {
                snapshots += 1;
                known.clear();
                snapshot.registrations
            }
            Change::Delta(delta) => delta.updated,
            Change::Progress(_) => Vec::new(),
        };
        for instance in updated.into_iter().filter_map(|it| it.instance) {
            known.insert(instance.id, instance.weight.to_string());
        }
    }
    println!("{snapshots} snapshots up to revision {compacted}");
    assert!(snapshots > 1, "the stream never fell behind");
    assert_catches_up(&mut watch, &last).await;
    // It goes on as any other.
    let fresh = Instance::new(SERVICE, "fresh").endpoint("grpc", "127.0.0.1", 80);
    let _fresh = client.registry().register(fresh).await.unwrap();
    let response = timeout(STATE_MAX, stream.message()).await.unwrap();
    let Some(Change::Delta(delta)) = response.unwrap().unwrap().change else {
        panic!("one registration is a difference");
    };
    let ids = delta.updated.into_iter().filter_map(|it| it.instance);
    assert_eq!(ids.map(|it| it.id).collect::<Vec<_>>(), ["fresh"]);
}

/// The client's own stream comes to the last life of every instance, too, and without an error.
async fn assert_catches_up(watch: &mut EndpointWatch, last: &str) {
    let mut known = std::collections::BTreeMap::new();
    while known.len() < INSTANCES || known.values().any(|life: &String| life != last) {
        let change = timeout(NEXT_MAX, watch.next()).await;
        let change = change.unwrap_or_else(|_| panic!("the watch stays at {known:?}"));
        let updated = match change.unwrap().expect("a watch of endpoints does not fail") {
            EndpointChange::Snapshot { registrations, .. } => {
                known.clear();
                registrations
            }
            EndpointChange::Delta { updated, .. } => updated,
            _ => Vec::new(),
        };
        for instance in updated {
            known.insert(instance.id().to_owned(), instance.weight().to_string());
        }
    }
}

/// A node that was down meanwhile knows nothing of the history; whoever watched there is told all
/// the same, elsewhere and afterwards there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_whose_node_dies_goes_on_after_compactions() {
    let mut cluster = Cluster::start(3).await;
    let watching = Client::connect(cluster.addresses_from(2)).await.unwrap();
    let selector = Selector::default();
    let watch = watching.registry().watch_endpoints(SERVICE, selector).await;
    let mut watch = watch.unwrap();
    let client = Client::connect(cluster.addresses()).await.unwrap();
    let mut kept = Vec::new();
    for node in [2, 1] {
        cluster.node_mut(node).kill9();
        cluster.leader_among(&cluster.others(node)).await;
        let id = format!("after-m{node}");
        let instance = Instance::new(SERVICE, &id).endpoint("grpc", "127.0.0.1", 80);
        kept.push(client.registry().register(instance).await.unwrap());
        compact(&client).await;
        let mut seen = false;
        while !seen {
            let change = timeout(STATE_MAX, watch.next()).await.unwrap().unwrap();
            let updated = match change.expect("a watch of endpoints does not fail") {
                EndpointChange::Snapshot { registrations, .. } => registrations,
                EndpointChange::Delta { updated, .. } => updated,
                _ => Vec::new(),
            };
            seen = updated.iter().any(|instance| instance.id() == id);
        }
        cluster.node_mut(node).restart().await;
    }
}

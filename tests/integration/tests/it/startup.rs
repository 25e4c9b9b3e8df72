//! Opening a node costs the same with few keys and with many.

use std::time::{Duration, Instant};

use tenure_proto::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest, request_op};
use tenure_testkit::Cluster;

/// Keys of the large node.
const KEYS: usize = 200_000;
/// Keys that one transaction writes.
const KEYS_PER_TXN: usize = 1000;
/// Transactions in flight.
const LOADERS: usize = 4;
/// By how much more the large node may take.
const DIFFERENCE_MAX: Duration = Duration::from_secs(1);
/// Starts of each node; the fastest counts, because a busy machine only ever makes one slower.
const STARTS: usize = 3;

#[tokio::test]
async fn a_node_with_many_keys_starts_as_fast_as_one_with_few() {
    let small = time_to_ready(10).await;
    let large = time_to_ready(KEYS).await;
    println!("ready after {small:?} with 10 keys, after {large:?} with {KEYS}");
    assert!(
        large < small + DIFFERENCE_MAX,
        "{large:?} with {KEYS} keys, {small:?} with 10"
    );
}

/// The fastest of some starts after clean stops.
async fn time_to_ready(keys: usize) -> Duration {
    let per_txn = KEYS_PER_TXN.to_string();
    let mut cluster = Cluster::builder(1)
        .flag("--max-txn-ops", &per_txn)
        .start()
        .await;
    load(&cluster, keys).await;
    let mut fastest = Duration::MAX;
    for _ in 0..STARTS {
        let status = cluster.node_mut(0).terminate().await;
        assert_eq!(status.code(), Some(0));
        let begin = Instant::now();
        cluster.node_mut(0).restart().await;
        fastest = fastest.min(begin.elapsed());
        assert_eq!(count(&cluster).await, keys);
    }
    fastest
}

async fn load(cluster: &Cluster, keys: usize) {
    let loaders = (0..LOADERS).map(|loader| {
        let calls = cluster.node(0).calls();
        tokio::spawn(async move {
            let own = (0..keys).filter(|key| key / KEYS_PER_TXN % LOADERS == loader);
            let own: Vec<_> = own.collect();
            for some in own.chunks(KEYS_PER_TXN) {
                let txn = TxnRequest {
                    success: some.iter().map(|key| put(*key)).collect(),
                    ..TxnRequest::default()
                };
                calls.kv().txn(txn).await.unwrap();
            }
        })
    });
    for loader in loaders.collect::<Vec<_>>() {
        loader.await.unwrap();
    }
}

fn put(key: usize) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest {
            key: format!("many/{key:09}").into(),
            value: format!("the value of key {key}, neither long nor short").into(),
            ..PutRequest::default()
        })),
    }
}

async fn count(cluster: &Cluster) -> usize {
    let request = RangeRequest {
        key: "many/".into(),
        range_end: "many0".into(),
        count_only: true,
        ..RangeRequest::default()
    };
    let response = cluster.node(0).calls().kv().range(request).await.unwrap();
    usize::try_from(response.into_inner().count).unwrap()
}

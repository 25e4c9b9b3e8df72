//! Views of the key space that the client builds: a cached prefix, a namespace, transactional
//! memory, JSON values.

use std::{collections::BTreeMap, time::Duration};

use tenure::{Client, Compare, ErrorKind, KeyRange, KeyValue, Put};
use tenure_testkit::{Cluster, Cutter};
use tokio::time::timeout;

/// Longest time for a change to arrive, over the end of connections.
const ARRIVAL_MAX: Duration = Duration::from_secs(30);
/// Transactions that run at once, and what each of them adds.
const WRITERS: usize = 4;
const ADDITIONS: usize = 25;

async fn client_of(cluster: &Cluster) -> Client {
    Client::connect(cluster.addresses()).await.unwrap()
}

#[tokio::test]
async fn a_cached_prefix_is_current_again_after_what_it_missed_is_compacted() {
    let cluster = Cluster::start(1).await;
    let direct = client_of(&cluster).await;
    direct.put("c/kept", "1").await.unwrap();
    direct.put("c/gone", "1").await.unwrap();
    let cutter = Cutter::start(&cluster.addresses()).await;
    let through = Client::connect(cutter.addresses()).await.unwrap();
    let cache = through.cached("c/").await.unwrap();
    let seen = direct.put("c/seen", "1").await.unwrap().revision();
    let seen = timeout(ARRIVAL_MAX, cache.reached(seen)).await.unwrap();
    assert_eq!(seen.unwrap().len(), 3);

    cutter.cut();
    direct.delete("c/gone").await.unwrap();
    let last = direct.put("c/kept", "2").await.unwrap().revision();
    direct.maintenance().compact(last).await.unwrap();
    cutter.heal();

    let view = timeout(ARRIVAL_MAX, cache.reached(last)).await.unwrap();
    let view = view.unwrap();
    let keys: Vec<_> = view.iter().map(KeyValue::key).collect();
    assert_eq!(keys, ["c/kept", "c/seen"]);
    assert_eq!(view.get("c/kept").unwrap().value(), "2");
    assert!(cache.error().is_none());
}

#[tokio::test]
async fn a_cached_prefix_reaches_revisions_of_other_keys_and_has_every_page() {
    let cluster = Cluster::start(3).await;
    let client = client_of(&cluster).await;
    // More than one page of a list.
    for batch in 0..15 {
        let mut txn = client.txn();
        for key in 0..100 {
            txn = txn.and_then(Put::new(format!("c/{batch:02}/{key:02}"), "v"));
        }
        txn.await.unwrap();
    }
    let cache = client.cached("c/").await.unwrap();
    assert_eq!(cache.view().len(), 1_500);
    let elsewhere = client.put("d", "v").await.unwrap().revision();
    let view = timeout(ARRIVAL_MAX, cache.reached(elsewhere)).await;
    assert_eq!(view.unwrap().unwrap().len(), 1_500);
    let error = client.cached("c/").bytes_max(10_000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}");
}

#[tokio::test]
async fn a_namespace_neither_shows_nor_touches_what_is_outside() {
    let cluster = Cluster::start(1).await;
    let client = client_of(&cluster).await;
    for outside in ["a", "n", "n/", "n0", "z"] {
        client.put(outside, "outside").await.unwrap();
    }
    let view = client.namespace("n/");
    let mut watcher = view.watch(KeyRange::all()).await.unwrap();
    let done = view
        .txn()
        .when(Compare::missing("k"))
        .and_then(Put::new("k", "v"))
        .and_then(Put::new("l", "w"))
        .await
        .unwrap();
    assert!(done.succeeded());
    let keys = |kvs: &[KeyValue]| -> Vec<String> {
        let keys = kvs.iter().map(|kv| kv.key_str().unwrap().to_owned());
        keys.collect()
    };
    for range in [KeyRange::all(), KeyRange::from_key("a")] {
        let found = view.get(range.clone()).await.unwrap();
        assert_eq!(keys(found.kvs()), ["k", "l"], "{range:?}");
    }
    let update = timeout(ARRIVAL_MAX, watcher.next()).await.unwrap();
    let update = update.unwrap().unwrap();
    let watched: Vec<_> = update.iter().map(|event| event.key().clone()).collect();
    assert_eq!(watched, ["k", "l"]);
    let deleted = view.delete(KeyRange::all()).prev_kv().await.unwrap();
    assert_eq!(keys(deleted.prev_kvs()), ["k", "l"]);
    let left = client.get(KeyRange::all()).await.unwrap();
    assert_eq!(keys(left.kvs()), ["a", "n", "n/", "n0", "z"]);
    let error = view.put("", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn transactions_that_run_at_once_lose_nothing() {
    let cluster = Cluster::start(3).await;
    let client = client_of(&cluster).await;
    let accounts = ["stm/a", "stm/b"];
    let writers = (0..WRITERS).map(|writer| {
        let client = client.clone();
        tokio::spawn(async move {
            for addition in 0..ADDITIONS {
                let from = accounts[(writer + addition) % 2];
                let to = accounts[(writer + addition + 1) % 2];
                let moving = client.stm().attempts_max(1_000).run(|txn| async move {
                    let (left, right) = (number(txn.get(from).await?), number(txn.get(to).await?));
                    txn.put(from, (left - 1).to_string());
                    txn.put(to, (right + 2).to_string());
                    Ok::<_, tenure::Error>(())
                });
                moving.await.unwrap();
            }
        })
    });
    for writer in Vec::from_iter(writers) {
        writer.await.unwrap();
    }
    let mut sum = 0;
    for account in accounts {
        sum += number(client.get(account).await.unwrap().value().cloned());
    }
    assert_eq!(sum, i64::try_from(WRITERS * ADDITIONS).unwrap());
}

fn number(value: Option<impl AsRef<[u8]>>) -> i64 {
    value.map_or(0, |value| {
        let text = str::from_utf8(value.as_ref()).unwrap();
        text.parse().unwrap()
    })
}

#[tokio::test]
async fn a_json_value_comes_back_as_its_type() {
    let cluster = Cluster::start(1).await;
    let client = client_of(&cluster).await;
    let value = BTreeMap::from([("workers".to_owned(), 8)]);
    client.put_json("j", &value).unwrap().await.unwrap();
    let found = client.get("j").await.unwrap();
    assert_eq!(found.json().unwrap(), Some(value));
    assert_eq!(
        found.json::<Vec<u8>>().unwrap_err().kind(),
        ErrorKind::Decode
    );
}

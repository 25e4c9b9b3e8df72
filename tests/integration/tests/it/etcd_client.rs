//! The etcd client that Rust programs have: every key, transaction, watch, lease and status call.

use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error, EventType, GetOptions,
    LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp,
    TxnOpResponse, WatchFilterType, WatchOptions, WatchStream,
};
use tenure_testkit::Cluster;
use tokio::time::{Duration, timeout};

/// Time for one event.
const EVENT_MAX: Duration = Duration::from_secs(30);

async fn quorum() -> (Cluster, Client) {
    let cluster = Cluster::start(3).await;
    let client = Client::connect(cluster.addresses(), None).await.unwrap();
    (cluster, client)
}

fn message(error: Error) -> String {
    match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        other => panic!("not a refusal: {other}"),
    }
}

#[tokio::test]
async fn put_takes_its_options() {
    let (_cluster, mut client) = quorum().await;
    let first = client.put("k", "1", None).await.unwrap();
    assert!(first.prev_key().is_none());
    let options = PutOptions::new().with_prev_key();
    let second = client.put("k", "2", Some(options)).await.unwrap();
    let previous = second.prev_key().unwrap();
    assert_eq!((previous.value(), previous.version()), (&b"1"[..], 1));
    let revision = |header: Option<&etcd_client::ResponseHeader>| header.unwrap().revision();
    assert_eq!(revision(second.header()), revision(first.header()) + 1);

    let lease = client.lease_grant(60, None).await.unwrap().id();
    client
        .put("k", "3", Some(PutOptions::new().with_lease(lease)))
        .await
        .unwrap();
    client
        .put(
            "k",
            "",
            Some(PutOptions::new().with_ignore_value().with_ignore_lease()),
        )
        .await
        .unwrap();
    let got = client.get("k", None).await.unwrap();
    let kv = &got.kvs()[0];
    assert_eq!(
        (kv.value(), kv.lease(), kv.version()),
        (&b"3"[..], lease, 4)
    );
    let refused = client.put("", "v", None).await.unwrap_err();
    assert_eq!(message(refused), "etcdserver: key is not provided");
}

#[tokio::test]
async fn get_takes_its_options() {
    let (_cluster, mut client) = quorum().await;
    for (key, value) in [("g/1", "c"), ("g/2", "b"), ("g/3", "a"), ("h", "z")] {
        client.put(key, value, None).await.unwrap();
    }
    let options = GetOptions::new().with_prefix();
    let all = client.get("g/", Some(options.clone())).await.unwrap();
    assert_eq!((all.count(), all.more(), all.kvs().len()), (3, false, 3));
    let revision = all.header().unwrap().revision();
    let keys = |response: &etcd_client::GetResponse| {
        let keys = response
            .kvs()
            .iter()
            .map(|kv| kv.key_str().unwrap().to_owned());
        keys.collect::<Vec<_>>()
    };
    let limited = client
        .get("g/", Some(options.clone().with_limit(2)))
        .await
        .unwrap();
    assert_eq!(
        (limited.count(), limited.more(), keys(&limited).len()),
        (3, true, 2)
    );
    let counted = client
        .get("g/", Some(options.clone().with_count_only()))
        .await
        .unwrap();
    assert_eq!((counted.count(), counted.kvs().len()), (3, 0));
    let bare = client
        .get("g/", Some(options.clone().with_keys_only()))
        .await
        .unwrap();
    assert!(bare.kvs().iter().all(|kv| kv.value().is_empty()));
    let sort = options
        .clone()
        .with_sort(SortTarget::Value, SortOrder::Ascend);
    let sorted = client.get("g/", Some(sort)).await.unwrap();
    assert_eq!(keys(&sorted), ["g/3", "g/2", "g/1"]);
    let range = GetOptions::new().with_range("g/3");
    assert_eq!(
        keys(&client.get("g/1", Some(range)).await.unwrap()),
        ["g/1", "g/2"]
    );
    let from = GetOptions::new().with_from_key();
    assert_eq!(
        keys(&client.get("g/3", Some(from)).await.unwrap()),
        ["g/3", "h"]
    );
    let everything = GetOptions::new().with_all_keys().with_serializable();
    client.get("", Some(everything)).await.unwrap();
    let young = options.clone().with_min_mod_revision(revision - 1);
    assert_eq!(keys(&client.get("g/", Some(young)).await.unwrap()), ["g/3"]);
    let old = options.clone().with_max_create_revision(revision - 3);
    assert_eq!(keys(&client.get("g/", Some(old)).await.unwrap()), ["g/1"]);

    client.put("g/1", "d", None).await.unwrap();
    let past = GetOptions::new().with_revision(revision);
    assert_eq!(
        client.get("g/1", Some(past)).await.unwrap().kvs()[0].value(),
        b"c"
    );
}

#[tokio::test]
async fn delete_and_compact_take_their_options() {
    let (_cluster, mut client) = quorum().await;
    for key in ["d/1", "d/2", "d/3", "e", "f"] {
        client.put(key, "v", None).await.unwrap();
    }
    let one = DeleteOptions::new().with_prev_key();
    let one = client.delete("d/1", Some(one)).await.unwrap();
    assert_eq!((one.deleted(), one.prev_kvs()[0].value()), (1, &b"v"[..]));
    let rest = client
        .delete("d/", Some(DeleteOptions::new().with_prefix()))
        .await
        .unwrap();
    assert_eq!((rest.deleted(), rest.prev_kvs().len()), (2, 0));
    let range = DeleteOptions::new().with_range("f");
    assert_eq!(client.delete("e", Some(range)).await.unwrap().deleted(), 1);
    let last = client
        .delete("f", Some(DeleteOptions::new().with_from_key()))
        .await
        .unwrap();
    assert_eq!(last.deleted(), 1);
    assert_eq!(client.delete("f", None).await.unwrap().deleted(), 0);

    let revision = last.header().unwrap().revision();
    let physical = CompactionOptions::new().with_physical();
    client.compact(revision, Some(physical)).await.unwrap();
    let refused = client.compact(revision, None).await.unwrap_err();
    assert_eq!(
        message(refused),
        "etcdserver: mvcc: required revision has been compacted"
    );
    let past = GetOptions::new().with_revision(revision - 1);
    assert!(client.get("f", Some(past)).await.is_err());
    let now = GetOptions::new().with_revision(revision);
    assert_eq!(client.get("f", Some(now)).await.unwrap().count(), 0);
}

#[tokio::test]
async fn a_transaction_compares_every_target_and_may_be_nested() {
    let (_cluster, mut client) = quorum().await;
    let lease = client.lease_grant(60, None).await.unwrap().id();
    let put = client
        .put("k", "v", Some(PutOptions::new().with_lease(lease)))
        .await
        .unwrap();
    let revision = put.header().unwrap().revision();
    let inner = Txn::new()
        .when([Compare::version("none", CompareOp::Equal, 0)])
        .and_then([TxnOp::put("inner", "v", None)]);
    let txn = Txn::new()
        .when([
            Compare::value("k", CompareOp::Equal, "v"),
            Compare::value("k", CompareOp::NotEqual, "w"),
            Compare::version("k", CompareOp::Less, 2),
            Compare::create_revision("k", CompareOp::Equal, revision),
            Compare::mod_revision("k", CompareOp::Greater, revision - 1),
            Compare::lease("k", CompareOp::Equal, lease),
            Compare::version("k", CompareOp::Greater, 0).with_range("l"),
        ])
        .and_then([
            TxnOp::put("l", "w", Some(PutOptions::new().with_prev_key())),
            TxnOp::get("k", None),
            TxnOp::delete("k", Some(DeleteOptions::new().with_prev_key())),
            TxnOp::txn(inner),
        ])
        .or_else([TxnOp::get("k", None)]);
    let done = client.txn(txn.clone()).await.unwrap();
    assert!(done.succeeded());
    assert_eq!(done.header().unwrap().revision(), revision + 1);
    match &done.op_responses()[..] {
        [
            TxnOpResponse::Put(put),
            TxnOpResponse::Get(get),
            TxnOpResponse::Delete(delete),
            TxnOpResponse::Txn(inner),
        ] => {
            assert!(put.prev_key().is_none());
            assert_eq!(get.kvs()[0].value(), b"v");
            assert_eq!(
                (delete.deleted(), delete.prev_kvs()[0].value()),
                (1, &b"v"[..])
            );
            assert!(inner.succeeded());
        }
        other => panic!("{other:?}"),
    }
    let other = client.txn(txn).await.unwrap();
    assert!(!other.succeeded(), "k is gone");
    match &other.op_responses()[..] {
        [TxnOpResponse::Get(get)] => assert_eq!(get.count(), 0),
        other => panic!("{other:?}"),
    }
}

async fn next(stream: &mut WatchStream) -> etcd_client::WatchResponse {
    let message = timeout(EVENT_MAX, stream.message()).await;
    message
        .expect("an event comes")
        .unwrap()
        .expect("the stream goes on")
}

#[tokio::test]
async fn a_watch_takes_its_options_and_several_share_a_stream() {
    let (_cluster, mut client) = quorum().await;
    let first = client.put("w/1", "1", None).await.unwrap();
    let revision = first.header().unwrap().revision();
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(revision)
        .with_prev_key()
        .with_watch_id(7);
    let mut stream = client.watch("w/", Some(options)).await.unwrap();
    let created = next(&mut stream).await;
    assert!(created.created());
    assert_eq!(created.watch_id(), 7);
    let told = next(&mut stream).await;
    assert_eq!(told.events()[0].kv().unwrap().value(), b"1");
    client.put("w/1", "2", None).await.unwrap();
    let told = next(&mut stream).await;
    assert_eq!(told.events()[0].prev_kv().unwrap().value(), b"1");

    let filter = WatchOptions::new()
        .with_filters([WatchFilterType::NoPut])
        .with_watch_id(8);
    stream.watch("w/1", Some(filter)).await.unwrap();
    assert!(next(&mut stream).await.created());
    client.put("w/1", "3", None).await.unwrap();
    let told = next(&mut stream).await;
    assert_eq!(told.watch_id(), 7, "the other one leaves puts out");
    client.delete("w/1", None).await.unwrap();
    let mut told = [next(&mut stream).await, next(&mut stream).await];
    told.sort_by_key(etcd_client::WatchResponse::watch_id);
    assert_eq!(
        told.each_ref().map(etcd_client::WatchResponse::watch_id),
        [7, 8]
    );
    for told in &told {
        assert_eq!(told.events()[0].event_type(), EventType::Delete);
    }

    stream.request_progress().await.unwrap();
    let progress = next(&mut stream).await;
    assert!(progress.events().is_empty());
    assert_eq!(progress.header().unwrap().revision(), revision + 3);
    for watch_id in [7, 8] {
        stream.cancel(watch_id).await.unwrap();
        let cancelled = next(&mut stream).await;
        assert!(cancelled.canceled());
        assert_eq!(cancelled.watch_id(), watch_id);
    }
}

#[tokio::test]
async fn leases_are_granted_kept_shown_listed_and_revoked() {
    let (_cluster, mut client) = quorum().await;
    let granted = client.lease_grant(60, None).await.unwrap();
    assert_eq!(granted.ttl(), 60);
    let chosen = LeaseGrantOptions::new().with_id(4242);
    let chosen = client.lease_grant(60, Some(chosen)).await.unwrap();
    assert_eq!(chosen.id(), 4242);
    let again = LeaseGrantOptions::new().with_id(4242);
    let refused = client.lease_grant(60, Some(again)).await.unwrap_err();
    assert_eq!(message(refused), "etcdserver: lease already exists");

    client
        .put("leased", "v", Some(PutOptions::new().with_lease(4242)))
        .await
        .unwrap();
    let keys = LeaseTimeToLiveOptions::new().with_keys();
    let shown = client.lease_time_to_live(4242, Some(keys)).await.unwrap();
    assert_eq!((shown.id(), shown.granted_ttl()), (4242, 60));
    assert!(
        (58..=60).contains(&shown.ttl()),
        "{} s are left",
        shown.ttl()
    );
    assert_eq!(shown.keys(), [b"leased"]);
    let listed = client.leases().await.unwrap();
    let mut ids: Vec<_> = listed
        .leases()
        .iter()
        .map(etcd_client::LeaseStatus::id)
        .collect();
    ids.sort_unstable();
    let mut expected = [granted.id(), 4242];
    expected.sort_unstable();
    assert_eq!(ids, expected);

    let (mut keeper, mut kept) = client.lease_keep_alive(4242).await.unwrap();
    for _ in 0..3 {
        keeper.keep_alive().await.unwrap();
        let response = timeout(EVENT_MAX, kept.message()).await.unwrap();
        let response = response.unwrap().unwrap();
        assert_eq!((response.id(), response.ttl()), (4242, 60));
    }
    client.lease_revoke(4242).await.unwrap();
    assert_eq!(client.get("leased", None).await.unwrap().count(), 0);
    assert!(client.lease_keep_alive(4242).await.is_err());
    let refused = client.lease_revoke(4242).await.unwrap_err();
    assert_eq!(message(refused), "etcdserver: requested lease not found");
}

#[tokio::test]
async fn status_hash_and_members_are_told() {
    let (cluster, _) = quorum().await;
    let mut hashes = Vec::new();
    for node in cluster.nodes() {
        let mut client = Client::connect([node.address()], None).await.unwrap();
        client.put("k", node.name(), None).await.unwrap();
        let status = client.status().await.unwrap();
        assert!(status.version().starts_with("3."), "{}", status.version());
        assert_ne!(status.leader(), 0);
        assert!(status.raft_applied_index() > 0 && status.raft_term() > 0);
        assert!(status.db_size() > 0);
        hashes.push(client.hash_kv(2).await.unwrap().hash());
        client.defragment().await.unwrap();
        let members = client.member_list().await.unwrap();
        assert_eq!(members.members().len(), 3);
        assert!(
            members
                .members()
                .iter()
                .any(|member| member.name() == node.name())
        );
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

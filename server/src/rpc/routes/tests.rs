//! The services over a real connection: routes, size limits, responses.

mod nesting;

use std::{sync::atomic::Ordering, time::Duration};

use tenure_proto::{
    etcdserverpb::{
        AlarmRequest, AlarmType, AuthEnableRequest, AuthStatusRequest, AuthenticateRequest,
        DefragmentRequest, DowngradeRequest, HashKvRequest, HashRequest, LeaseKeepAliveRequest,
        MemberAddRequest, MemberListRequest, MoveLeaderRequest, PutRequest, RangeRequest,
        RequestOp, SnapshotRequest, StatusRequest, TxnRequest, WatchCreateRequest, WatchRequest,
        WatchResponse, alarm_request::AlarmAction, auth_client::AuthClient,
        cluster_client::ClusterClient, kv_client::KvClient, lease_client::LeaseClient,
        maintenance_client::MaintenanceClient, request_op, response_op, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    metadata::{CURRENT_TOKEN_METADATA, REASON_METADATA, REQUIRE_LEADER_METADATA},
    v1,
    v3lockpb::{LockRequest, lock_client::LockClient},
};
use tenure_statemachine::{Command, LeaseGrant, LeaseId, MemberAttributes, Put, Ttl};
use tokio::{
    net::TcpListener,
    sync::mpsc::{self, Sender},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Server},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::*;
use crate::{
    node::{ReadIndexError, Refusal, TransferError},
    rpc::{
        Limits,
        answer::status::{Reason, reason_of},
        fake::{CLUSTER, FakeNode, MEMBER, TERM},
    },
};

struct Served {
    node: Arc<FakeNode>,
    services: Arc<Services>,
    channel: Channel,
}

async fn serve() -> Served {
    let node = FakeNode::leading();
    let election_timeout = Duration::from_millis(10);
    let services = node.services(Limits {
        election_timeout,
        ..Limits::standard()
    });
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let routes = routes(Arc::clone(&services));
    crate::tasks::spawn("test-server", async move {
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
    });
    let channel = Channel::from_shared(format!("http://{address}")).expect("a valid address");
    Served {
        node,
        services,
        channel: channel.connect().await.expect("it listens"),
    }
}

fn reason<T: std::fmt::Debug>(result: Result<T, Status>) -> Option<Reason> {
    reason_of(&result.expect_err("refused"))
}

#[tokio::test]
async fn requests_too_large_are_refused_in_etcds_words() {
    let Served { channel, .. } = serve().await;
    let mut kv = KvClient::new(channel);
    let put = |size: usize| PutRequest {
        key: "a".into(),
        value: vec![0; size].into(),
        ..Default::default()
    };
    kv.put(put(1500 * 1024)).await.expect("it fits");
    assert_eq!(
        reason(kv.put(put(1600 * 1024)).await),
        Some(Reason::RequestTooLarge)
    );
    assert!(kv.put(put(3 << 20)).await.is_err());
}

#[tokio::test]
async fn large_answers_pass_and_deadlines_travel() {
    let Served { node, channel, .. } = serve().await;
    for key in ["a", "b", "c", "d", "e", "f"] {
        let value = vec![0; 1 << 20].into();
        node.apply(&Command::Put(Put {
            key: key.into(),
            value,
            ..Put::default()
        }));
    }
    let mut kv = KvClient::new(channel).max_decoding_message_size(ENCODE_BYTES_MAX);
    let all = RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    };
    let mut request = Request::new(all.clone());
    request.set_timeout(Duration::from_secs(60));
    assert_eq!(
        kv.range(request).await.expect("served").get_ref().kvs.len(),
        6
    );
    let mut request = Request::new(all);
    request
        .metadata_mut()
        .insert(REQUIRE_LEADER_METADATA, "true".parse().expect("ascii"));
    node.set_leader(None);
    assert_eq!(reason(kv.range(request).await), Some(Reason::NoLeader));
}

#[tokio::test]
async fn the_status_tells_of_the_store_the_log_and_the_alarms() {
    let Served { node, channel, .. } = serve().await;
    let mut maintenance = MaintenanceClient::new(channel);
    node.logical_bytes.store(4096, Ordering::SeqCst);
    let status = maintenance
        .status(StatusRequest {})
        .await
        .expect("status")
        .into_inner();
    let header = status.header.expect("a header");
    assert_eq!((header.cluster_id, header.member_id), (CLUSTER, MEMBER.0));
    assert_eq!((header.revision, header.raft_term), (1, TERM));
    assert_eq!(
        (status.version.as_str(), status.storage_version.as_str()),
        ("3.6.0", "3.6.0")
    );
    assert_eq!(
        (status.db_size, status.db_size_in_use, status.db_size_quota),
        (4096, 4096, 2 << 30)
    );
    assert_eq!((status.leader, status.raft_term), (MEMBER.0, TERM));
    assert_eq!(status.errors, [""; 0]);
    assert!(status.downgrade_info.is_some_and(|info| !info.enabled));
    let activate = AlarmRequest {
        action: AlarmAction::Activate as i32,
        member_id: MEMBER.0,
        alarm: AlarmType::Nospace as i32,
    };
    maintenance.alarm(activate).await.expect("raised");
    node.set_leader(None);
    let status = maintenance
        .status(StatusRequest {})
        .await
        .expect("status")
        .into_inner();
    assert_eq!(status.leader, 0);
    let alarm = format!("memberID:{} alarm:NOSPACE", MEMBER.0);
    assert_eq!(status.errors, ["etcdserver: no leader", alarm.as_str()]);
}

#[tokio::test]
async fn alarms_are_raised_listed_and_cleared() {
    let Served { node, channel, .. } = serve().await;
    let mut maintenance = MaintenanceClient::new(channel);
    let request = |action: AlarmAction, alarm: AlarmType| AlarmRequest {
        action: action as i32,
        member_id: MEMBER.0,
        alarm: alarm as i32,
    };
    let steps = [
        (AlarmAction::Activate, AlarmType::None, 0),
        (AlarmAction::Get, AlarmType::None, 0),
        (AlarmAction::Activate, AlarmType::Nospace, 1),
        (AlarmAction::Get, AlarmType::None, 1),
        (AlarmAction::Get, AlarmType::Nospace, 1),
        (AlarmAction::Get, AlarmType::Corrupt, 0),
        (AlarmAction::Deactivate, AlarmType::Nospace, 1),
        (AlarmAction::Get, AlarmType::None, 0),
    ];
    for (action, alarm, expected) in steps {
        let reply = maintenance
            .alarm(request(action, alarm))
            .await
            .expect("answered");
        let reply = reply.into_inner();
        assert!(reply.header.is_some());
        assert_eq!(reply.alarms.len(), expected, "{action:?} {alarm:?}");
        assert!(reply.alarms.iter().all(|alarm| alarm.member_id == MEMBER.0));
    }
    assert_eq!(node.proposals.lock().len(), 2);
}

#[tokio::test]
async fn hashes_are_of_the_revision_asked_for_and_calls_without_header_have_none() {
    let Served { node, channel, .. } = serve().await;
    let mut maintenance = MaintenanceClient::new(channel);
    for value in ["1", "2"] {
        let put = Put {
            key: "a".into(),
            value: value.into(),
            ..Put::default()
        };
        node.apply(&Command::Put(put));
    }
    let latest = maintenance
        .hash_kv(HashKvRequest { revision: 0 })
        .await
        .expect("a hash");
    let latest = latest.into_inner();
    let past = maintenance
        .hash_kv(HashKvRequest { revision: 2 })
        .await
        .expect("a hash");
    assert_eq!((latest.hash_revision, latest.compact_revision), (3, -1));
    assert_eq!(past.get_ref().hash_revision, 2);
    assert_ne!(past.get_ref().hash, latest.hash);
    assert_eq!(
        past.get_ref().header.as_ref().map(|header| header.revision),
        Some(3)
    );
    let future = maintenance.hash_kv(HashKvRequest { revision: 9 }).await;
    assert_eq!(reason(future), Some(Reason::FutureRevision));
    let whole = maintenance.hash(HashRequest {}).await.expect("a hash");
    assert_eq!(whole.get_ref().hash, latest.hash);
    let defragmented = maintenance
        .defragment(DefragmentRequest {})
        .await
        .expect("at once");
    assert!(defragmented.get_ref().header.is_none());
    assert_eq!(node.compactions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn leadership_moves_or_says_why_not() {
    let Served { node, channel, .. } = serve().await;
    let mut maintenance = MaintenanceClient::new(channel);
    let request = MoveLeaderRequest { target_id: 0xb2 };
    let moved = maintenance.move_leader(request).await.expect("moved");
    assert!(moved.get_ref().header.is_none());
    for (error, expected) in [
        (TransferError::NotLeader, Reason::NotLeader),
        (TransferError::BadTarget, Reason::BadTransferee),
        (TransferError::SilentTarget, Reason::TransfereeSilent),
        (TransferError::TimedOut, Reason::TimedOut),
        (TransferError::Stopping, Reason::Stopped),
    ] {
        *node.transfer_error.lock() = Some(error);
        assert_eq!(
            reason(maintenance.move_leader(request).await),
            Some(expected)
        );
    }
}

#[tokio::test]
async fn members_have_a_name_once_they_have_said_it() {
    let Served { node, channel, .. } = serve().await;
    let mut cluster = ClusterClient::new(channel);
    let client_urls = vec!["http://one:2379".to_owned()];
    let said = MemberAttributes {
        id: MEMBER,
        name: "one".to_owned(),
        client_urls,
    };
    node.apply(&Command::MemberPublish(said.clone()));
    let reply = cluster
        .member_list(MemberListRequest { linearizable: true })
        .await;
    let reply = reply.expect("listed").into_inner();
    assert_eq!(
        reply
            .header
            .map(|header| (header.revision, header.raft_term)),
        Some((0, TERM))
    );
    let [one, two] = reply.members.as_slice() else {
        panic!("two members: {reply:?}")
    };
    assert_eq!((one.id, one.name.as_str()), (MEMBER.0, "one"));
    assert_eq!(one.client_ur_ls, said.client_urls);
    assert_eq!(one.peer_ur_ls, ["http://one:2380"]);
    assert_eq!(
        (two.name.as_str(), two.client_ur_ls.len(), two.is_learner),
        ("", 0, false)
    );
    *node.barrier_error.lock() = Some(ReadIndexError::NoLeader);
    assert!(
        cluster
            .member_list(MemberListRequest {
                linearizable: false
            })
            .await
            .is_ok()
    );
    let refused = cluster
        .member_list(MemberListRequest { linearizable: true })
        .await;
    assert_eq!(reason(refused), Some(Reason::NoLeader));
}

#[tokio::test]
async fn a_member_is_added_with_urls_that_are_well_formed() {
    let Served { channel, node, .. } = serve().await;
    let mut cluster = ClusterClient::new(channel);
    let add = |urls: &[&str]| MemberAddRequest {
        peer_ur_ls: urls.iter().map(ToString::to_string).collect(),
        is_learner: false,
    };
    for urls in [
        &[][..],
        &["h:1"],
        &["http://h"],
        &["http://h:1/p"],
        &["http://h:1", ""],
    ] {
        let added = cluster.member_add(add(urls)).await;
        assert_eq!(reason(added), Some(Reason::MemberUrlsInvalid), "{urls:?}");
    }
    cluster
        .member_add(add(&["http://h:1"]))
        .await
        .expect("added");
    *node.change_refused.lock() = Some(Refusal::UrlsExist);
    let added = cluster.member_add(add(&["http://h:1"])).await;
    assert_eq!(reason(added), Some(Reason::PeerUrlsExist));
}

#[tokio::test]
async fn a_learner_serves_local_reads_and_its_status_only() {
    let Served { channel, node, .. } = serve().await;
    node.set_learner();
    let mut kv = KvClient::new(channel.clone());
    let range = |serializable| RangeRequest {
        key: "k".into(),
        serializable,
        ..RangeRequest::default()
    };
    kv.range(range(true)).await.expect("a local read");
    let refused = Some(Reason::NotForLearner);
    assert_eq!(reason(kv.range(range(false)).await), refused);
    let put = PutRequest {
        key: "k".into(),
        ..PutRequest::default()
    };
    assert_eq!(reason(kv.put(put).await), refused);
    let mut cluster = ClusterClient::new(channel.clone());
    let listed = cluster.member_list(MemberListRequest::default()).await;
    assert_eq!(reason(listed), refused);
    let mut maintenance = MaintenanceClient::new(channel);
    let status = maintenance.status(StatusRequest::default()).await;
    status.expect("the status of this member");
}

#[tokio::test]
async fn a_snapshot_is_streamed_and_ends_with_its_checksum() {
    let Served { channel, .. } = serve().await;
    let mut maintenance = MaintenanceClient::new(channel);
    let snapshot = maintenance.snapshot(SnapshotRequest {}).await;
    let mut pieces = snapshot.expect("it streams").into_inner();
    let (mut bytes, mut remaining) = (0, u64::MAX);
    while let Some(piece) = pieces.message().await.expect("a piece") {
        bytes += piece.blob.len();
        remaining = piece.remaining_bytes;
        assert!(!piece.version.is_empty());
    }
    assert_eq!((bytes % 512, remaining), (32, 0));
}

#[tokio::test]
async fn what_is_not_built_is_refused_by_name_and_auth_is_off() {
    let Served { channel, .. } = serve().await;
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let mut request = DowngradeRequest::default();
    let malformed = maintenance.downgrade(request.clone()).await;
    assert_eq!(reason(malformed), Some(Reason::DowngradeMalformed));
    request.version = "3.5".to_owned();
    let downgrade = maintenance.downgrade(request).await;
    assert_eq!(reason(downgrade), Some(Reason::DowngradeUnsupported));
    let mut auth = AuthClient::new(channel.clone());
    let status = auth
        .auth_status(AuthStatusRequest {})
        .await
        .expect("answered")
        .into_inner();
    assert!(!status.enabled && status.header.is_some());
    let authenticated = auth.authenticate(AuthenticateRequest::default()).await;
    assert_eq!(reason(authenticated), Some(Reason::AuthNotEnabled));
    let enabled = auth.auth_enable(AuthEnableRequest {}).await;
    assert_eq!(reason(enabled), Some(Reason::LevelNotReached));
}

#[tokio::test]
async fn a_lock_travels_and_a_connection_that_ends_leaves_its_queue() {
    let Served { node, channel, .. } = serve().await;
    let mut lock = v1::lock_client::LockClient::new(channel.clone());
    let ask = |ttl_ms| v1::AcquireRequest {
        names: vec!["a".into()],
        ttl_ms,
        ..Default::default()
    };
    let mut stream = lock
        .acquire(ask(60_000))
        .await
        .expect("admitted")
        .into_inner();
    let received = stream
        .message()
        .await
        .expect("a response")
        .expect("no failure");
    let Some(v1::acquire_response::State::Granted(granted)) = received.state else {
        panic!("it was free: {received:?}");
    };
    assert!(stream.message().await.expect("the end").is_none());
    let mut waits = lock
        .acquire(ask(60_000))
        .await
        .expect("admitted")
        .into_inner();
    waits
        .message()
        .await
        .expect("a response")
        .expect("no failure");
    assert_eq!(node.keys().len(), 2);
    let mut applied = node.applied.subscribe();
    drop(waits);
    let left = applied.wait_for(|_| node.keys().len() == 1);
    left.await.expect("the node lives");
    let token = granted.claims.first().expect("a claim").token;
    let release = v1::ReleaseRequest {
        name: "a".into(),
        token: token + 1,
        options: None,
    };
    let status = lock.release(release).await.expect_err("not the holder");
    assert_eq!(reason_of(&status), Some(Reason::NotHolder));
    let metadata_of = |key| status.metadata().get(key).map(|value| value.as_bytes());
    assert_eq!(metadata_of(REASON_METADATA), Some(&b"NotHolder"[..]));
    assert_eq!(
        metadata_of(CURRENT_TOKEN_METADATA),
        Some(token.to_string().as_bytes())
    );
    let request = LockRequest {
        name: "b".into(),
        lease: 0,
    };
    let held = LockClient::new(channel).lock(request).await.expect("free");
    assert!(held.get_ref().key.starts_with(b"b/"));
}

/// A stream with a watcher of the key `a`, open until its requests are dropped.
async fn open_watch(channel: Channel) -> (Sender<WatchRequest>, Streaming<WatchResponse>) {
    let create = WatchCreateRequest {
        key: "a".into(),
        ..Default::default()
    };
    let create = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    let (requests, inbound) = mpsc::channel(1);
    requests.send(create).await.expect("open");
    let mut watch = WatchClient::new(channel)
        .watch(ReceiverStream::new(inbound))
        .await
        .expect("opened")
        .into_inner();
    let created = watch.message().await.expect("no failure");
    assert!(created.expect("a response").created);
    (requests, watch)
}

#[tokio::test]
async fn streams_work_and_a_drain_ends_them_and_turns_health() {
    let Served {
        node,
        services,
        channel,
    } = serve().await;
    let mut health = HealthClient::new(channel.clone());
    let check = || HealthCheckRequest {
        service: String::new(),
    };
    let state = health.check(check()).await.expect("answered").into_inner();
    assert_eq!(state.status, ServingStatus::Serving as i32);
    let mut health_changes = health.watch(check()).await.expect("opened").into_inner();

    node.apply(&Command::LeaseGrant(LeaseGrant {
        id: LeaseId(7),
        ttl: Ttl::from_secs(9),
    }));
    let renewed = tokio_stream::iter([LeaseKeepAliveRequest { id: 7 }]);
    let kept = LeaseClient::new(channel.clone())
        .lease_keep_alive(renewed)
        .await
        .expect("opened");
    let kept = kept
        .into_inner()
        .message()
        .await
        .expect("answered")
        .expect("an answer");
    assert_eq!((kept.id, kept.ttl), (7, 9));

    let (_requests, mut watch) = open_watch(channel).await;
    node.apply(&Command::Put(Put {
        key: "a".into(),
        ..Put::default()
    }));
    let response = watch.message().await.expect("no failure");
    assert_eq!(response.expect("a response").events.len(), 1);

    services.drain();
    let status = watch.message().await.expect_err("the end");
    assert_eq!(reason_of(&status), Some(Reason::Stopped));
    while let Some(change) = health_changes.message().await.expect("a response") {
        if change.status == ServingStatus::NotServing as i32 {
            return;
        }
    }
    panic!("health never turned");
}

#[tokio::test]
async fn reflection_lists_what_is_served() {
    let Served { channel, .. } = serve().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([request]))
        .await;
    let answer = answers
        .expect("opened")
        .into_inner()
        .message()
        .await
        .expect("answered");
    let Some(MessageResponse::ListServicesResponse(listed)) =
        answer.and_then(|answer| answer.message_response)
    else {
        panic!("a list of services")
    };
    let names: Vec<String> = listed
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for expected in [
        "etcdserverpb.KV",
        "etcdserverpb.Watch",
        "etcdserverpb.Lease",
        "v3lockpb.Lock",
        "v3electionpb.Election",
        "tenure.v1.Lock",
        "tenure.v1.Election",
        "tenure.v1.Session",
        "tenure.v1.Fence",
    ] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
    assert!(
        !names.iter().any(|name| name.starts_with("tenure.peer")),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_stream_that_requires_a_leader_ends_when_there_is_none_for_long() {
    let Served { node, channel, .. } = serve().await;
    let (_requests, inbound) = mpsc::channel::<WatchRequest>(1);
    let inbound = ReceiverStream::new(inbound);
    let mut request = Request::new(inbound);
    request
        .metadata_mut()
        .insert(REQUIRE_LEADER_METADATA, "true".parse().expect("ascii"));
    let mut watch = WatchClient::new(channel)
        .watch(request)
        .await
        .expect("opened")
        .into_inner();
    node.set_leader(None);
    let status = watch.message().await.expect_err("the end");
    assert_eq!(reason_of(&status), Some(Reason::NoLeader));
}

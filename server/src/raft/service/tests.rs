//! Tests of the peer service of one member, with its own Raft node and without a network.

use std::{path::Path, time::Duration};

use futures::stream;
use tenure_proto::peer::{SnapshotChunk, peer_client::PeerClient, snapshot_chunk::Part};
use tenure_statemachine::{ClusterTime, Context, HashKv, Meta, Revision, StateMachine};
use tonic::service::interceptor::InterceptedService;

use super::*;
use crate::{
    clock::RuntimeClock,
    config::MetricsLevel,
    consensus::{LeaderId, Membership, PeerNode, StoredMembership, Vote},
    raft::{AppliedGroup, ApplyListener, ApplyTimes, Machine, Network, Newcomers, Peers, Roster},
    storage::{
        AdapterRecord, KnownPeers, LogOwner, LogStore, Owner, RocksEngine, StateStore, open_log,
    },
    transport::TcpTransport,
};

const CLUSTER: u64 = 9;
/// The member under test, and the leader.
const OWN: u64 = 1;
const LEADER: u64 = 2;
/// Time limit for consensus to report an installed snapshot.
const INSTALLED_MAX: Duration = Duration::from_secs(30);

/// A node without pending requests; ignores all events.
#[derive(Debug)]
struct Nobody;

impl PeerRequests for Nobody {
    fn forward(&self, _: bytes::Bytes, _: u64) -> BoxFuture<'static, ForwardOutcome> {
        Box::pin(std::future::pending())
    }

    fn collect(
        &self,
        _: MemberId,
        _: Streaming<peer::CollectAnswer>,
    ) -> mpsc::Receiver<peer::CollectAsk> {
        mpsc::channel(1).1
    }

    fn heard_from_leader(&self) {}

    fn room(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }

    fn digest(&self, _: u64) -> BoxFuture<'static, Option<u64>> {
        Box::pin(std::future::pending())
    }

    fn history_hash(&self, _: Revision) -> BoxFuture<'static, Option<HashKv>> {
        Box::pin(std::future::pending())
    }

    fn replication_ended(&self) {}

    fn read_index(&self) -> BoxFuture<'static, Option<LogId>> {
        Box::pin(std::future::pending())
    }

    fn change_members(
        &self,
        _: peer::ChangeMembersRequest,
    ) -> BoxFuture<'static, peer::ChangeMembersResponse> {
        Box::pin(std::future::pending())
    }
}

impl ApplyListener for Nobody {
    fn applied(&self, _: &Meta, _: Vec<AppliedGroup>, _: ApplyTimes) {}

    fn restored(&self, _: &Meta) {}
}

/// Creates a member with its data in `root`; returns its Raft node and its service.
async fn member(
    root: &Path,
) -> (
    Raft,
    InterceptedService<peer_server::PeerServer<PeerService>, PeerAccess>,
) {
    let (owner, log_owner) = (
        Owner {
            cluster_id: CLUSTER,
            member_id: OWN,
            instance_id: 7,
        },
        LogOwner {
            cluster_id: CLUSTER,
            member_id: OWN,
            instance_id: 7,
        },
    );
    let disk = open_log(&root.join("log"), log_owner).unwrap();
    let clock = RuntimeClock::shared();
    let log = LogStore::open(Arc::new(disk), Arc::clone(&clock), Arc::new(|_| ())).unwrap();
    let store = Arc::new(StateStore::open(&root.join("state")).unwrap());
    let (snapshots, newest) = SnapshotDir::open(&root.join("snapshots")).unwrap();
    let machine = Machine::open(store, snapshots, newest, Arc::new(Nobody), clock).unwrap();
    let stored = Stored {
        snapshots: machine.snapshots(),
        newest: machine.newest(),
        refusals: machine.refusals(),
    };
    let known = KnownPeers::open(&root.join("peers")).unwrap();
    let roster = Arc::new(Roster::new(owner, false, known));
    let peers = Arc::new(Peers::new(
        Arc::new(TcpTransport::default()),
        Arc::clone(&roster),
    ));
    let metrics = Metrics::new(MetricsLevel::Basic);
    let late = metrics.server.heartbeat_send_failures.clone();
    let network = Network::new(peers, late, machine.newest(), machine.refusals());
    let config = Arc::new(openraft::Config::default());
    let raft = Raft::build(OWN, config, network, log, machine)
        .await
        .unwrap();
    raft.run();
    let founders = vec![OWN, LEADER];
    let transport = Arc::new(TcpTransport::default());
    let newcomers = Arc::new(Newcomers::new(transport, CLUSTER, Vec::new()));
    let counted = Arc::clone(&metrics);
    let access = PeerAccess::new(raft.clone(), roster, founders, newcomers, counted);
    access.open();
    let requests = Arc::new(Nobody);
    let service = PeerService::server(raft.clone(), stored, requests, metrics, access.clone());
    (raft, InterceptedService::new(service, access))
}

fn record() -> AdapterRecord {
    let leader = LeaderId {
        term: 1,
        node_id: LEADER,
    };
    let node = |id: u64| {
        let (name, peer_urls) = (format!("m{id}"), Vec::new());
        let node = PeerNode {
            name,
            peer_urls,
            ..PeerNode::default()
        };
        (id, node)
    };
    let ids = [OWN, LEADER];
    let nodes: std::collections::BTreeMap<_, _> = ids.map(node).into();
    let membership = Membership::new(vec![ids.into()], nodes).unwrap();
    AdapterRecord {
        last_applied: Some(LogId::new(leader, 5)),
        membership: StoredMembership::new(Some(LogId::new(leader, 1)), membership),
        ..AdapterRecord::default()
    }
}

/// The chunks of a snapshot of the leader, without a transfer name.
async fn sent(root: &Path) -> Vec<SnapshotChunk> {
    let engine = Arc::new(RocksEngine::open(&root.join("sent")).unwrap());
    let mut machine = StateMachine::open(Arc::<RocksEngine>::clone(&engine)).unwrap();
    let mut batch = machine.begin();
    batch.advance(&Context {
        index: 5,
        term: 1,
        now: ClusterTime(0),
    });
    batch.put_adapter_record(record().encode().into());
    batch.commit().unwrap();
    let (snapshots, _) = SnapshotDir::open(&root.join("built")).unwrap();
    let (found, checkpoint) = snapshots.build(&engine).unwrap();
    assert_eq!(found, record());
    let mut offered = transfer::offer(&found, checkpoint, Vec::new());
    let mut chunks = Vec::new();
    while let Some(chunk) = offered.recv().await {
        chunks.push(chunk.unwrap());
    }
    let Some(Part::Header(head)) = &mut chunks[0].part else {
        panic!("it begins with its head")
    };
    head.vote = Some(convert::vote_to(&Vote::new_committed(1, LEADER)));
    assert_eq!(head.transfer, 0);
    chunks
}

/// A call as made by version 0.1.0: without the sender's data directory.
fn call(chunks: &[SnapshotChunk]) -> Request<impl Stream<Item = SnapshotChunk> + use<>> {
    from_leader(stream::iter(chunks.to_vec()))
}

fn from_leader<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert(peer_metadata::CLUSTER_KEY, peers::number(CLUSTER));
    metadata.insert(peer_metadata::SENDER_KEY, peers::number(LEADER));
    metadata.insert(peer_metadata::TARGET_KEY, peers::number(OWN));
    request
}

/// Regression: during an upgrade, a member of this version that needed a snapshot never got one.
#[tokio::test]
async fn a_leader_that_does_not_name_its_directory_has_its_snapshot_installed() {
    let root = tempfile::tempdir().unwrap();
    let (raft, service) = member(root.path()).await;
    let chunks = sent(root.path()).await;
    let mut client = PeerClient::new(service);
    // The call starts from nothing, regardless of an earlier one that broke off.
    let broken = client.install_snapshot(call(&chunks[..2])).await;
    assert_eq!(broken.unwrap_err().code(), tonic::Code::Aborted);
    let answer = client.install_snapshot(call(&chunks)).await.unwrap();
    let leader = Vote::new_committed(1, LEADER);
    assert_eq!(
        answer.into_inner().vote,
        Some(convert::vote_to(&leader)),
        "it follows"
    );
    let last = record().last_applied;
    let wait = raft.wait(Some(INSTALLED_MAX));
    let installed = wait.metrics(
        |it| it.last_applied == last && it.snapshot == last,
        "installed",
    );
    installed.await.unwrap();
    raft.shutdown().await.unwrap();
}

/// Regression: the leader resent it five times a second, unaware that its files may be damaged.
#[tokio::test]
async fn a_snapshot_that_is_not_what_its_head_says_is_refused_for_its_content() {
    let root = tempfile::tempdir().unwrap();
    let (raft, service) = member(root.path()).await;
    let mut chunks = sent(root.path()).await;
    let Some(Part::Header(head)) = &mut chunks[0].part else {
        panic!("it begins with its head")
    };
    head.last_log_id.as_mut().unwrap().index += 1;
    let mut client = PeerClient::new(service);
    let refused = client.install_snapshot(call(&chunks)).await.unwrap_err();
    assert!(peers::is_content_refused(&refused), "{refused}");
    assert!(
        refused.message().contains("does not match its head"),
        "{refused}"
    );
    raft.shutdown().await.unwrap();
}

/// A member that restores its state reports the snapshot that it refused when it asks again.
#[tokio::test]
async fn a_snapshot_that_was_fetched_and_refused_is_checked_and_sent_again_after_a_pause() {
    let root = tempfile::tempdir().unwrap();
    let (raft, service) = member(root.path()).await;
    let chunks = sent(root.path()).await;
    let mut client = PeerClient::new(service);
    client.install_snapshot(call(&chunks)).await.unwrap();
    let last = record().last_applied;
    let wait = raft.wait(Some(INSTALLED_MAX));
    let installed = wait.metrics(|it| it.snapshot == last, "installed");
    installed.await.unwrap();
    let mut request = peer::FetchSnapshotRequest {
        index_min: 1,
        refused: last.as_ref().map(convert::log_id_to),
        ..peer::FetchSnapshotRequest::default()
    };
    let answer = client.fetch_snapshot(from_leader(request.clone())).await;
    let Err(refused) = answer else {
        panic!("it is not sent again at once")
    };
    assert!(
        refused.message().contains("refused a moment ago"),
        "{refused}"
    );
    request.refused = None;
    let again = async {
        while client
            .fetch_snapshot(from_leader(request.clone()))
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(INSTALLED_MAX, again).await.unwrap();
    raft.shutdown().await.unwrap();
}

//! A node knows what it has lost, and lets nobody speak to it who is not a member: wiped and
//! restored directories, spellings of addresses, foreign directories, strangers on the peer port.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tenure_proto::{
    peer::{self, peer_client::PeerClient},
    peer_metadata::{CLUSTER_KEY, SENDER_INSTANCE_KEY, SENDER_KEY, TARGET_KEY},
};
use tenure_testkit::{Cluster, STATE_MAX, free_port, tenured, wait_until};
use tokio::time::timeout;
use tonic::{Code, Request, Status, transport::Channel};

/// How long a node may take to see that it must end.
const REFUSAL_MAX: Duration = Duration::from_secs(20);
const WRITES: usize = 200;

async fn write(cluster: &Cluster, node: usize, prefix: &str) {
    let calls = cluster.node(node).calls();
    for number in 0..WRITES {
        calls.put(&format!("{prefix}/{number}"), "v").await.unwrap();
    }
}

async fn count(cluster: &Cluster, node: usize, prefix: &str) -> usize {
    let calls = cluster.node(node).calls();
    calls.get_prefix(prefix).await.unwrap().len()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// Waits until a node ends by itself, and says so in words that hold all of `parts`.
async fn wait_refusal(cluster: &mut Cluster, node: usize, parts: &[&str]) {
    let status = cluster.node_mut(node).wait_exit(REFUSAL_MAX).await;
    assert!(!status.success(), "{status}");
    let said = cluster.node(node).log_end();
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
}

/// One member was down while a write was acknowledged by the other two; both die, one of them loses
/// its disk, and the supervisor starts the two that are left.
#[tokio::test]
async fn a_member_that_lost_its_disk_does_not_outvote_what_it_acknowledged() {
    let mut cluster = Cluster::start(3).await;
    cluster.node_mut(0).kill9();
    cluster.leader_among(&[1, 2]).await;
    write(&cluster, 2, "kept").await;
    cluster.node_mut(1).kill9();
    cluster.node_mut(2).kill9();
    fs::remove_dir_all(cluster.node(1).data_dir()).unwrap();
    cluster.node_mut(0).start();
    cluster.node_mut(1).start();
    wait_refusal(
        &mut cluster,
        1,
        &["already been bootstrapped", "replace the member"],
    )
    .await;
    cluster.node_mut(2).start();
    cluster.node_mut(0).wait_ready().await;
    cluster.node_mut(2).wait_ready().await;
    assert_eq!(count(&cluster, 0, "kept/").await, WRITES);
    assert_eq!(count(&cluster, 2, "kept/").await, WRITES);
}

/// The others run: the quorum goes on without a pause, and says what is wrong.
#[tokio::test]
async fn a_wiped_member_is_refused_by_name_and_the_quorum_goes_on() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let wiped = cluster.others(leader)[0];
    write(&cluster, leader, "before").await;
    cluster.node_mut(wiped).kill9();
    fs::remove_dir_all(cluster.node(wiped).data_dir()).unwrap();
    cluster.node_mut(wiped).start();
    wait_refusal(&mut cluster, wiped, &["already been bootstrapped"]).await;
    let said = cluster.node(wiped).log();
    let ready = said.matches("ready to serve client requests").count();
    assert_eq!(ready, 1, "only the first start was ready");
    write(&cluster, leader, "after").await;
    let log = cluster.node(leader).log();
    assert!(log.contains("has already been bootstrapped"), "{log}");
    let status = cluster.node(leader).calls().status().await.unwrap();
    let told = status.errors.iter().any(|it| it.contains("bootstrapped"));
    assert!(told, "{:?}", status.errors);
}

/// `rm -rf log/` beside the identity once founded a new quorum.
#[tokio::test]
async fn a_member_whose_log_is_gone_does_not_start() {
    let mut cluster = Cluster::start(1).await;
    write(&cluster, 0, "kept").await;
    cluster.node_mut(0).kill9();
    fs::remove_dir_all(cluster.node(0).data_dir().join("log")).unwrap();
    for _ in 0..2 {
        cluster.node_mut(0).start();
        wait_refusal(&mut cluster, 0, &["log is gone", "replace the member"]).await;
    }
}

/// A founder that is alone waits for the others, however they come up, and forms nothing with less
/// than all of them.
#[tokio::test]
async fn founders_that_start_one_after_the_other_form_one_quorum() {
    let mut cluster = Cluster::builder(3).spawn();
    cluster.node_mut(1).kill9();
    cluster.node_mut(2).kill9();
    wait_until("the first founder waits", STATE_MAX, async || {
        let log = cluster.node(0).log();
        let waits = log.contains("once every founder has answered");
        waits.then_some(()).ok_or(log)
    })
    .await;
    cluster.node_mut(1).start();
    cluster.node_mut(2).start();
    for number in 0..3 {
        cluster.node_mut(number).wait_ready().await;
    }
    write(&cluster, 0, "works").await;
}

/// A restored older copy was "ready", lagged for ever, and its clients' writes timed out.
#[tokio::test]
async fn a_member_with_an_older_copy_of_its_directory_is_told_to_be_replaced() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let restored = cluster.others(leader)[0];
    write(&cluster, leader, "before").await;
    cluster.node_mut(restored).kill9();
    let current = cluster.node(restored).data_dir().to_owned();
    let older = current.with_extension("older");
    copy(&current, &older);
    cluster.node_mut(restored).restart().await;
    write(&cluster, restored, "between").await;
    cluster.node_mut(restored).kill9();
    fs::remove_dir_all(&current).unwrap();
    fs::rename(&older, &current).unwrap();
    cluster.node_mut(restored).start();
    wait_refusal(&mut cluster, restored, &["went back", "replace the member"]).await;
    write(&cluster, leader, "after").await;
}

/// A server that runs beside no cluster of the testkit.
struct Alone {
    dir: tempfile::TempDir,
    client: u16,
    peer: u16,
}

impl Alone {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            client: free_port(),
            peer: free_port(),
        }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Runs until the server ends or serves; returns whether it serves, and what it said.
    async fn run(&self, advertised: &str, member: &str) -> (bool, String) {
        let log = self.dir.path().join("log.txt");
        let mut child = self.spawn(advertised, member);
        let serves = wait_until("it serves or ends", STATE_MAX, async || {
            if child.try_wait().unwrap().is_some() {
                return Ok(false);
            }
            let said = fs::read_to_string(&log).unwrap();
            let ready = said.contains("ready to serve client requests");
            ready.then_some(true).ok_or(said)
        })
        .await;
        drop(child.kill());
        child.wait().unwrap();
        (serves, fs::read_to_string(&log).unwrap())
    }

    fn spawn(&self, advertised: &str, member: &str) -> Child {
        let log = self.dir.path().join("log.txt");
        let file = fs::File::create(&log).unwrap();
        let client = format!("http://127.0.0.1:{}", self.client);
        Command::new(tenured())
            .args(["--name", "m0", "--data-dir"])
            .arg(self.data_dir())
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args([
                "--listen-peer-urls",
                &format!("http://127.0.0.1:{}", self.peer),
            ])
            .args(["--initial-advertise-peer-urls", advertised])
            .args(["--initial-cluster", &format!("m0={member}")])
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap()
    }
}

/// The node ended with "has to be a member", and its directory stayed silent for ever.
#[tokio::test]
async fn two_spellings_of_one_address_are_one_member() {
    let alone = Alone::new();
    let member = format!("http://127.0.0.1:{}", alone.peer);
    let advertised = format!("http://localhost:{}", alone.peer);
    let (serves, said) = alone.run(&advertised, &member).await;
    assert!(serves, "{said}");
    let (serves, said) = alone.run(&member, &member).await;
    assert!(serves, "with the same directory: {said}");
}

/// Such a directory, of a founder that never met the others, is told apart from one that waits.
#[tokio::test]
async fn a_directory_of_no_member_says_so_and_ends() {
    let alone = Alone::new();
    let url = format!("http://127.0.0.1:{}", alone.peer);
    let two = format!("{url},m1=http://127.0.0.1:{}", free_port());
    let mut founder = alone.spawn(&url, &two);
    wait_until("it has a log", STATE_MAX, async || {
        let log = alone.data_dir().join("log");
        log.exists().then_some(()).ok_or("there is none")
    })
    .await;
    founder.kill().unwrap();
    founder.wait().unwrap();
    let (serves, said) = alone.run(&url, &url).await;
    assert!(!serves);
    assert!(said.contains("is in no membership"), "{said}");
}

/// They were taken for a first start, and the user's data seemed gone.
#[tokio::test]
async fn directories_of_others_are_refused_and_left_alone() {
    for (name, word) in [("member", "etcd"), ("photos", "photos")] {
        let alone = Alone::new();
        fs::create_dir_all(alone.data_dir().join(name)).unwrap();
        let url = format!("http://127.0.0.1:{}", alone.peer);
        let (serves, said) = alone.run(&url, &url).await;
        assert!(!serves && said.contains(word), "{said}");
        let left: Vec<_> = fs::read_dir(alone.data_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, [name]);
    }
}

/// One flipped digit made somebody else of a member.
#[tokio::test]
async fn a_damaged_identity_does_not_start() {
    let mut cluster = Cluster::start(1).await;
    cluster.node_mut(0).kill9();
    let file = cluster.node(0).data_dir().join("identity");
    let text = fs::read_to_string(&file).unwrap();
    let digit = text.find("member_id = ").unwrap() + "member_id = ".len();
    let other = if &text[digit..=digit] == "7" {
        "8"
    } else {
        "7"
    };
    let damaged = format!("{}{other}{}", &text[..digit], &text[digit + 1..]);
    fs::write(&file, damaged).unwrap();
    cluster.node_mut(0).start();
    wait_refusal(&mut cluster, 0, &["damaged", "replace the member"]).await;
}

/// What a stranger knows: ids are in every answer, instances in none.
struct Stranger {
    client: PeerClient<Channel>,
    cluster: u64,
    from: u64,
    to: u64,
    instance: Option<u64>,
}

impl Stranger {
    async fn new(cluster: &Cluster, target: usize, from: u64) -> Self {
        let words = cluster.node(target).command_line();
        let at = words.iter().position(|word| word == "--listen-peer-urls");
        let url = words[at.unwrap() + 1].clone();
        let status = cluster.node(target).calls().status().await.unwrap();
        let header = status.header.unwrap();
        Self {
            client: PeerClient::connect(url).await.unwrap(),
            cluster: header.cluster_id,
            from,
            to: header.member_id,
            instance: None,
        }
    }

    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let mut put = |key: &'static str, id: u64| {
            let id = format!("{id:016x}").parse().unwrap();
            request.metadata_mut().insert(key, id);
        };
        put(CLUSTER_KEY, self.cluster);
        put(SENDER_KEY, self.from);
        put(TARGET_KEY, self.to);
        if let Some(instance) = self.instance {
            put(SENDER_INSTANCE_KEY, instance);
        }
        request
    }

    async fn heartbeat(&self, message: peer::AppendRequest) -> Result<(), Status> {
        let call = self.call(message);
        let answer = timeout(STATE_MAX, self.client.clone().heartbeat(call)).await;
        answer.unwrap().map(drop)
    }

    async fn vote(&self, message: peer::VoteRequest) -> Result<(), Status> {
        let call = self.call(message);
        let answer = timeout(STATE_MAX, self.client.clone().vote(call)).await;
        answer.unwrap().map(drop)
    }

    fn vote_of(&self, term: u64, committed: bool) -> Option<peer::Vote> {
        Some(peer::Vote {
            term,
            node_id: self.from,
            committed,
        })
    }

    fn log_id(&self, term: u64, index: u64) -> Option<peer::LogId> {
        Some(peer::LogId {
            term,
            node_id: self.from,
            index,
        })
    }

    /// A sound message, if it came from the leader: the sender alone is the quorum from now on.
    async fn take_over(&self, term: u64, last: u64) -> Result<(), Status> {
        let membership = peer::Membership {
            configs: vec![peer::MemberSet {
                ids: vec![self.from],
            }],
            nodes: [(self.from, peer::Node::default())].into(),
        };
        let entry = peer::Entry {
            log_id: self.log_id(term, last + 1),
            payload: Some(peer::entry::Payload::Membership(membership)),
        };
        let message = peer::AppendRequest {
            vote: self.vote_of(term, true),
            prev_log_id: self.log_id(term, last),
            entries: vec![entry],
            leader_commit: None,
        };
        self.heartbeat(message).await
    }

    /// Every message that once ended a node, or worse, all nodes.
    async fn attack(&self, term: u64, last: u64) -> Vec<(&'static str, Result<(), Status>)> {
        let entry = |index, payload| peer::Entry {
            log_id: self.log_id(term, index),
            payload: Some(payload),
        };
        let append = |term, previous, entries| peer::AppendRequest {
            vote: self.vote_of(term, true),
            prev_log_id: previous,
            entries,
            leader_commit: None,
        };
        let nonsense = peer::entry::Payload::Batch("nonsense".into());
        let after = self.log_id(term, last);
        let top = u64::MAX;
        let vote = peer::VoteRequest {
            vote: self.vote_of(top, false),
            ..peer::VoteRequest::default()
        };
        vec![
            ("term", self.heartbeat(append(top, None, Vec::new())).await),
            ("vote", self.vote(vote).await),
            (
                "index",
                self.heartbeat(append(term, self.log_id(term, top), Vec::new()))
                    .await,
            ),
            (
                "entry",
                self.heartbeat(append(term, after, vec![entry(last + 1, nonsense)]))
                    .await,
            ),
        ]
    }
}

async fn refused(cluster: &Cluster, node: usize) -> u64 {
    let page = cluster.node(node).page("/metrics").await.body;
    let counts = page.lines().filter_map(|line| {
        let rest = line.strip_prefix("tenure_peer_refused_total{")?;
        rest.rsplit_once(' ')?.1.parse::<u64>().ok()
    });
    counts.sum()
}

/// One message with the highest term once spread to all nodes and ended them, and none started
/// again.
#[tokio::test]
async fn a_stranger_on_the_peer_port_is_refused_and_counted() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let target = cluster.others(leader)[0];
    write(&cluster, leader, "before").await;
    let status = cluster.node(target).calls().status().await.unwrap();
    let known = cluster.node(leader).member_id().await;
    // Somebody else, somebody who says to be the leader, and one who guesses its instance.
    for (from, instance) in [(0xBAD, None), (known, None), (known, Some(1))] {
        let mut stranger = Stranger::new(&cluster, target, from).await;
        stranger.instance = instance;
        let before = refused(&cluster, target).await;
        let (term, last) = (status.raft_term, status.raft_index);
        let mut attacks = stranger.attack(term, last).await;
        attacks.push(("membership", stranger.take_over(term, last).await));
        let made = u64::try_from(attacks.len()).unwrap();
        for (what, answer) in attacks {
            let error = answer.expect_err(what);
            assert_eq!(error.code(), Code::FailedPrecondition, "{what}: {error}");
        }
        assert_eq!(refused(&cluster, target).await, before + made);
    }
    write(&cluster, target, "after").await;
    for number in 0..3 {
        cluster.node_mut(number).kill9();
    }
    for number in 0..3 {
        cluster.node_mut(number).start();
    }
    for number in 0..3 {
        cluster.node_mut(number).wait_ready().await;
        assert_eq!(count(&cluster, number, "before/").await, WRITES);
        assert_eq!(count(&cluster, number, "after/").await, WRITES);
    }
}

/// Even a member, or somebody with a member's credentials, cannot make consensus overflow or put
/// into the log what no member can apply.
#[tokio::test]
async fn a_member_that_sends_nonsense_is_refused_before_consensus_sees_it() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let target = cluster.others(leader)[0];
    write(&cluster, leader, "before").await;
    let status = cluster.node(target).calls().status().await.unwrap();
    let from = cluster.node(leader).member_id().await;
    let mut impostor = Stranger::new(&cluster, target, from).await;
    impostor.instance = Some(instance_of(cluster.node(leader).data_dir()));
    let attacks = impostor.attack(status.raft_term, status.raft_index).await;
    for (what, answer) in attacks {
        let error = answer.expect_err(what);
        assert_eq!(error.code(), Code::InvalidArgument, "{what}: {error}");
    }
    write(&cluster, target, "after").await;
}

fn instance_of(data_dir: &Path) -> u64 {
    let text = fs::read_to_string(data_dir.join("identity")).unwrap();
    let line = text
        .lines()
        .find_map(|it| it.strip_prefix("instance_id = "));
    u64::from_str_radix(line.unwrap(), 16).unwrap()
}

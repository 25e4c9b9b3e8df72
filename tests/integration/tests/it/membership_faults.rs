//! Changes of the membership while nodes are killed, paused, cut off, slow, or on slow disks, under
//! clients whose history is checked.
//!
//! A few changes run with the other tests; `TENURE_MEMBER_CHANGES=200`, which `make members` sets,
//! makes so many. Clients read, write and swap registers; each round has registers of its own, so
//! that every history is short.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tenure::{Client, Compare, Error, MemberId, MemberRole, Put, Relation};
use tenure_proto::peer::{MembersRequest, discovery_client::DiscoveryClient};
use tenure_testkit::{Cluster, SlowDisks, wait_until};
use tokio::{sync::Mutex, task::JoinHandle, time::sleep};

use crate::history::{Call, Did, History};

/// Changes that are made with the other tests.
const CHANGES: usize = 6;
const CLIENTS: usize = 6;
const REGISTERS: usize = 3;
/// Time limit for the members to be well again after a fault.
const WELL_MAX: Duration = Duration::from_secs(120);
/// Time limit of a call on a register: a call that takes longer has an unknown outcome.
const CALL_MAX: Duration = Duration::from_secs(3);
/// Time limit of a change.
const CHANGE_MAX: Duration = Duration::from_secs(10);
/// Pause of a client between two calls, which bounds the history.
const CALL_PAUSE: Duration = Duration::from_millis(5);
/// How long a fault lasts beyond the change: leaders are elected meanwhile.
const FAULT_MAX_MS: u64 = 2500;
const SLOW_SYNC: Duration = Duration::from_millis(300);
/// A link on which heartbeats are late: each is some hundred bytes.
const NARROW_BYTES_PER_SECOND: u64 = 3000;
/// Exit code of a removed member.
const REMOVED_CODE: i32 = 78;
/// Members at most.
const MEMBERS_MAX: usize = 5;
const MEMBERS_MIN: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill(usize),
    Pause(usize),
    /// The others cannot reach it, and it can reach them.
    Cut(usize),
    /// What the others send it is late.
    Narrow(usize),
    SlowDisk(usize),
    None,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    AddVoter,
    AddLearner,
    Remove(usize),
    /// It is lost for good, and another takes its place.
    Replace(usize),
    Update(usize),
}

/// What clients know of the round.
#[derive(Clone, Debug, Default)]
struct Round {
    number: usize,
    addresses: Vec<String>,
}

#[derive(Debug, Default)]
struct Counts {
    made: usize,
    refused: usize,
    unknown: usize,
}

/// Clients of registers, and an observer of leaders.
struct Clients {
    begin: Instant,
    round: Mutex<Round>,
    stop: AtomicBool,
    values: AtomicU64,
    history: Mutex<History>,
    /// Who said that it leads, by term.
    leaders: Mutex<BTreeMap<u64, BTreeSet<u64>>>,
}

impl Clients {
    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).unwrap()
    }

    async fn connect(&self) -> (Round, Client) {
        loop {
            let round = self.round.lock().await.clone();
            let builder = Client::builder()
                .endpoints(&round.addresses)
                .timeout(CALL_MAX);
            if let Ok(client) = builder.connect().await {
                return (round, client);
            }
            // A pause between two attempts.
            sleep(CALL_PAUSE).await;
        }
    }

    async fn is_over(&self, round: &Round) -> bool {
        self.stop.load(Ordering::Relaxed) || self.round.lock().await.number != round.number
    }

    async fn call_registers(self: Arc<Self>, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        while !self.stop.load(Ordering::Relaxed) {
            let (round, client) = self.connect().await;
            while !self.is_over(&round).await {
                let register = random.random_range(0..REGISTERS);
                let key = format!("register/{:04}/{register}", round.number);
                let value = self.values.fetch_add(1, Ordering::Relaxed) + 1;
                let begin = self.now();
                let did = match random.random_range(0..3) {
                    0 => put(&client, &key, value).await,
                    1 => get(&client, &key).await,
                    _ => swap(&client, &key, value).await,
                };
                if let Some((did, is_known)) = did {
                    let end = is_known.then(|| self.now());
                    let call = Call { begin, end, did };
                    self.history.lock().await.add(&key, call);
                }
                // The rate at which calls are made.
                sleep(CALL_PAUSE).await;
            }
        }
    }

    async fn observe_leaders(self: Arc<Self>) {
        while !self.stop.load(Ordering::Relaxed) {
            let (round, client) = self.connect().await;
            while !self.is_over(&round).await {
                for address in &round.addresses {
                    let one = client
                        .only(address.clone())
                        .unwrap()
                        .with_timeout(CALL_MAX / 6);
                    let Ok(status) = one.maintenance().status().await else {
                        continue;
                    };
                    let status = status.into_wire();
                    let own = status.header.map_or(0, |header| header.member_id);
                    if status.leader == own {
                        let mut leaders = self.leaders.lock().await;
                        leaders.entry(status.raft_term).or_default().insert(own);
                    }
                }
                // A pause between two looks.
                sleep(CALL_PAUSE * 10).await;
            }
        }
    }
}

/// What was done, and whether it is known to have been. `None` when nothing was.
type Done = Option<(Did, bool)>;

async fn put(client: &Client, key: &str, value: u64) -> Done {
    let did = Did::Put(value);
    match client.put(key, value.to_string()).await {
        Ok(_) => Some((did, true)),
        Err(_) => Some((did, false)),
    }
}

async fn get(client: &Client, key: &str) -> Done {
    let got = client.get(key).await.ok()?;
    let value = got.kvs().first().map(|kv| number(kv.value()));
    Some((Did::Got(value), true))
}

/// Replaces the value that a serializable read found, which may be an old one.
async fn swap(client: &Client, key: &str, value: u64) -> Done {
    let found = client.get(key).serializable().await.ok()?;
    let old = number(found.kvs().first()?.value());
    let is_old = Compare::value(key, Relation::Equal, old.to_string());
    let put = Put::new(key, value.to_string());
    match client.txn().when(is_old).and_then(put).await {
        Ok(done) if done.succeeded() => Some((Did::Swapped(old, value), true)),
        Ok(_) => Some((Did::Kept(old), true)),
        Err(_) => Some((Did::Swapped(old, value), false)),
    }
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// The cluster and what is done to it.
struct Trial {
    cluster: Cluster,
    disks: Option<SlowDisks>,
    random: StdRng,
    /// The nodes that are members.
    members: Vec<usize>,
    counts: Counts,
}

impl Trial {
    fn any_member(&mut self) -> usize {
        self.members[self.random.random_range(0..self.members.len())]
    }

    fn addresses(&self) -> Vec<String> {
        let address = |&node: &usize| self.cluster.node(node).address().to_owned();
        self.members.iter().map(address).collect()
    }

    async fn client(&self) -> Client {
        let builder = Client::builder()
            .endpoints(self.addresses())
            .timeout(CHANGE_MAX);
        builder.connect().await.unwrap()
    }

    fn choose(&mut self) -> (Change, Fault) {
        let (many, few) = (
            self.members.len() >= MEMBERS_MAX,
            self.members.len() <= MEMBERS_MIN,
        );
        let node = self.any_member();
        let change = match self.random.random_range(0..6) {
            0 | 1 if many => Change::Remove(node),
            0 => Change::AddVoter,
            1 => Change::AddLearner,
            2 | 3 if few => Change::AddVoter,
            2 | 3 => Change::Remove(node),
            4 => Change::Replace(node),
            _ => Change::Update(node),
        };
        let node = self.any_member();
        let fault = match self.random.random_range(0..6) {
            // Of three or four nodes one may be lost at a time.
            _ if matches!(change, Change::Replace(_)) && !many => Fault::None,
            0 => Fault::Kill(node),
            1 => Fault::Pause(node),
            2 => Fault::Cut(node),
            3 => Fault::Narrow(node),
            4 => Fault::SlowDisk(node.min(2)),
            _ => Fault::None,
        };
        match (change, fault) {
            (Change::Replace(lost), Fault::Kill(node) | Fault::Pause(node)) if lost == node => {
                (change, Fault::None)
            }
            both => both,
        }
    }

    fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(node) => self.cluster.node_mut(node).kill9(),
            Fault::Pause(node) => self.cluster.node(node).pause(),
            Fault::Cut(node) => {
                self.cluster.link(node).refuse(true);
                self.cluster.link(node).break_off();
            }
            Fault::Narrow(node) => self.cluster.link(node).narrow(NARROW_BYTES_PER_SECOND, 0),
            Fault::SlowDisk(node) => self.slow(node, SLOW_SYNC),
            Fault::None => {}
        }
    }

    fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(node) => self.cluster.node_mut(node).start(),
            Fault::Pause(node) => self.cluster.node(node).resume(),
            Fault::Cut(node) => self.cluster.link(node).refuse(false),
            Fault::Narrow(node) => self.cluster.link(node).narrow(0, 0),
            Fault::SlowDisk(node) => self.slow(node, Duration::ZERO),
            Fault::None => {}
        }
    }

    fn slow(&self, node: usize, delay: Duration) {
        if let Some(disks) = &self.disks {
            disks.set(node, delay);
        }
    }

    fn count<T>(&mut self, made: &Result<T, Error>) {
        match made {
            Ok(_) => self.counts.made += 1,
            Err(error) if error.outcome_unknown() => self.counts.unknown += 1,
            Err(_) => self.counts.refused += 1,
        }
    }

    /// The id of the member at a URL, if there is one.
    async fn member_at(&self, url: &str) -> Option<MemberId> {
        let client = self.client().await;
        wait_until("the members are told", WELL_MAX, async || {
            let members = client.cluster().members().await?;
            let at = |urls: &[String]| urls.iter().any(|it| it == url);
            let found = members.iter().find(|member| at(member.peer_urls()));
            Ok::<_, Error>(found.map(|member| member.id()))
        })
        .await
    }

    /// Adds a node, if that is not refused.
    async fn add(&mut self, role: MemberRole) {
        let node = self.cluster.joining_through(&self.members.clone());
        let url = self.cluster.node(node).peer_url();
        let client = self.client().await;
        let added = client
            .cluster()
            .add_member([url.clone()], role)
            .await
            .map(drop);
        self.count(&added);
        if added.is_err_and(|error| !error.outcome_unknown()) {
            return;
        }
        let Some(id) = self.member_at(&url).await else {
            return;
        };
        self.cluster.node_mut(node).start();
        if role == MemberRole::Learner {
            wait_until("the learner is promoted", WELL_MAX, async || {
                match client.cluster().promote_member(id).await {
                    Ok(_) => Ok(()),
                    // An earlier attempt, whose outcome was unknown, promoted it.
                    Err(error)
                        if error
                            .to_string()
                            .contains("can only promote a learner member") =>
                    {
                        let text = error.to_string();
                        if text.contains("in sync") {
                            Err(error)
                        } else {
                            Ok(())
                        }
                    }
                    Err(error) => Err(error),
                }
            })
            .await;
        }
        self.members.push(node);
    }

    async fn remove(&mut self, node: usize, id: MemberId) {
        let client = self.client().await;
        let removed = client.cluster().remove_member(id).await.map(drop);
        self.count(&removed);
        let listed = wait_until("the members are told", WELL_MAX, async || {
            let members = client.cluster().members().await?;
            Ok::<_, Error>(members.iter().any(|member| member.id() == id))
        })
        .await;
        assert!(!(listed && removed.is_ok()), "a removed member is listed");
        if !listed {
            self.members.retain(|member| *member != node);
        }
    }

    /// Spells its address in another way.
    async fn update(&mut self, id: MemberId) {
        let client = self.client().await;
        let members = client.cluster().members().await.unwrap();
        let member = members.iter().find(|member| member.id() == id).unwrap();
        let url = &member.peer_urls()[0];
        let other = if url.contains("localhost") {
            url.replace("localhost", "127.0.0.1")
        } else {
            url.replace("127.0.0.1", "localhost")
        };
        let updated = client.cluster().update_member(id, [other]).await.map(drop);
        self.count(&updated);
    }

    /// One change beside one fault.
    async fn round(&mut self) {
        let (change, fault) = self.choose();
        println!("{:?} of {:?} beside {fault:?}", change, self.members);
        let id = match change {
            Change::Remove(node) | Change::Replace(node) | Change::Update(node) => Some((
                node,
                MemberId::new(self.cluster.node(node).member_id().await),
            )),
            Change::AddVoter | Change::AddLearner => None,
        };
        self.begin(fault);
        // Faults are a time long, whatever they do.
        let lasts = Duration::from_millis(self.random.random_range(0..FAULT_MAX_MS));
        match (change, id) {
            (Change::AddVoter, _) => self.add(MemberRole::Voter).await,
            (Change::AddLearner, _) => self.add_beside(fault, lasts).await,
            (Change::Remove(_), Some((node, id))) => self.remove(node, id).await,
            (Change::Replace(_), Some((node, id))) => {
                self.cluster.node_mut(node).kill9();
                self.remove(node, id).await;
                if self.members.contains(&node) {
                    // It was refused, so the node comes back.
                    self.cluster.node_mut(node).start();
                } else {
                    self.add(MemberRole::Voter).await;
                }
            }
            (Change::Update(_), Some((_, id))) => self.update(id).await,
            (Change::Remove(_) | Change::Replace(_) | Change::Update(_), None) => {}
        }
        if !matches!(change, Change::AddLearner) {
            // Time is the subject: the fault lasts so long.
            sleep(lasts).await;
            self.end(fault);
        }
        if let Change::Remove(node) = change
            && !self.members.contains(&node)
        {
            let ended = self.cluster.node_mut(node).wait_exit(WELL_MAX).await;
            assert_eq!(ended.code(), Some(REMOVED_CODE), "m{node}");
        }
        self.until_well().await;
    }

    /// A learner gets its vote by a call, for which the fault has to end.
    async fn add_beside(&mut self, fault: Fault, lasts: Duration) {
        // Time is the subject: the fault lasts so long.
        sleep(lasts).await;
        self.end(fault);
        self.add(MemberRole::Learner).await;
    }

    /// Waits until every member votes and answers.
    async fn until_well(&mut self) {
        let client = self.client().await;
        let addresses = self.addresses();
        wait_until("every member votes", WELL_MAX, async || {
            let listed = client
                .cluster()
                .members()
                .await
                .map_err(|it| it.to_string())?;
            let listed = listed.iter().count();
            if listed != addresses.len() {
                return Err(format!("{listed} members instead of {}", addresses.len()));
            }
            for address in &addresses {
                let one = client.only(address.clone()).unwrap().with_timeout(CALL_MAX);
                let status = one.maintenance().status().await;
                let status = status.map_err(|error| format!("{address}: {error}"))?;
                if status.role() != MemberRole::Voter || status.leader().is_none() {
                    return Err(format!("{address} has no vote or no leader"));
                }
                one.get("x")
                    .await
                    .map_err(|error| format!("{address}: {error}"))?;
            }
            Ok(())
        })
        .await;
    }

    /// No member has a joint configuration, and all have the same data.
    async fn assert_equal(&self) {
        let client = self.client().await;
        let mut hashes = BTreeSet::new();
        let revision = client.get("x").await.unwrap().revision();
        for &node in &self.members {
            let address = self.cluster.node(node).address().to_owned();
            let one = client.only(address).unwrap();
            // It has applied what is hashed.
            one.get("x").await.unwrap();
            hashes.insert(one.maintenance().hash_kv(revision).await.unwrap().hash());
            let mut discovery = DiscoveryClient::connect(self.cluster.node(node).peer_url())
                .await
                .unwrap();
            let told = discovery
                .members(MembersRequest {})
                .await
                .unwrap()
                .into_inner();
            assert_eq!(
                told.membership.unwrap().configs.len(),
                1,
                "a joint configuration"
            );
        }
        assert_eq!(hashes.len(), 1, "{hashes:x?}");
    }
}

#[tokio::test]
async fn the_membership_changes_among_faults_and_no_call_is_contradicted() {
    let changes = env::var("TENURE_MEMBER_CHANGES");
    let changes = changes.map_or(CHANGES, |changes| changes.parse().unwrap());
    let seed =
        env::var("TENURE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("{changes} changes, TENURE_SEED={seed}");
    let disks = SlowDisks::new();
    let builder = Cluster::builder(3).linked();
    let builder = match &disks {
        Some(disks) => disks.under(builder, 3),
        None => builder,
    };
    let mut trial = Trial {
        cluster: builder.start().await,
        disks,
        random: StdRng::seed_from_u64(seed),
        members: vec![0, 1, 2],
        counts: Counts::default(),
    };
    let clients = Arc::new(Clients {
        begin: Instant::now(),
        round: Mutex::new(Round {
            number: 0,
            addresses: trial.addresses(),
        }),
        stop: AtomicBool::new(false),
        values: AtomicU64::new(0),
        history: Mutex::default(),
        leaders: Mutex::default(),
    });
    let calling = (0..CLIENTS as u64).map(|client| {
        let clients = Arc::clone(&clients);
        tokio::spawn(clients.call_registers(seed.wrapping_add(client)))
    });
    let mut tasks: Vec<JoinHandle<()>> = calling.collect();
    tasks.push(tokio::spawn(Arc::clone(&clients).observe_leaders()));

    let mut number = 0;
    while trial.counts.made + trial.counts.unknown < changes {
        trial.round().await;
        number += 1;
        let addresses = trial.addresses();
        *clients.round.lock().await = Round { number, addresses };
    }
    clients.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    trial.assert_equal().await;
    let leaders = clients.leaders.lock().await;
    let twice: Vec<_> = leaders.iter().filter(|(_, ids)| ids.len() > 1).collect();
    let history = clients.history.lock().await;
    let wrong = history.contradictions();
    let Counts {
        made,
        refused,
        unknown,
    } = trial.counts;
    println!(
        "{number} rounds: {made} changes made, {refused} refused, {unknown} of unknown outcome; \
         {} calls on {} registers, {} without an order; {} terms, {} with two leaders; no joint \
         configuration, all members equal",
        history.calls(),
        number * REGISTERS,
        wrong.len(),
        leaders.len(),
        twice.len(),
    );
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(twice.is_empty(), "{twice:?}");
    assert!(history.calls() > 0);
}

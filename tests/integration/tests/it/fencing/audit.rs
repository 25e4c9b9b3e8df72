//! What happened, from the history of the store and from the holders' journals.
//!
//! The store's history says which claim held at which revision: the one with the least create
//! revision. A write is stale when its token was not that one. The journals say what holders knew,
//! and when.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tenure_proto::mvccpb::{Event, event::EventType};
use tenure_testkit::{Calls, Cluster, Watching};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    holders::{LOCKS, data_key, lock_name},
    journal::{Journal, What},
};

/// How long the history takes to arrive, at most.
const HISTORY_MAX: Duration = Duration::from_secs(30);
/// What the client takes off the time to live, in thousandths and on top of them: see
/// `LockGuard::deadline`.
const MARGIN_PER_MILLE: u32 = 10;
/// As above.
const MARGIN: Duration = Duration::from_millis(5);
/// Pause before a watch that broke is opened at another node.
const REOPEN: Duration = Duration::from_millis(20);

/// What a run came to.
#[derive(Debug)]
pub(super) struct Audit {
    pub(super) grants: usize,
    pub(super) pauses: usize,
    pub(super) kills: usize,
    pub(super) writes: usize,
    pub(super) refused: usize,
    /// Accepted writes of somebody who did not hold the lock.
    pub(super) stale: Vec<String>,
    /// Accepted writes that carried no guard although a policy demands one.
    pub(super) unguarded: usize,
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} grants, {} pauses, {} leaders killed, {} writes accepted, {} refused, {} stale \
             ones accepted",
            self.grants,
            self.pauses,
            self.kills,
            self.writes,
            self.refused,
            self.stale.len()
        )
    }
}

impl Audit {
    pub(super) async fn of(
        cluster: &Cluster,
        journals: &[Journal],
        pauses: usize,
        kills: usize,
    ) -> Self {
        let mut audit = Self {
            grants: count(journals, &What::Granted),
            refused: count(journals, &What::Refused),
            pauses,
            kills,
            writes: 0,
            stale: Vec::new(),
            unguarded: 0,
        };
        for lock in 0..LOCKS {
            audit.judge(&history(cluster, lock).await);
        }
        audit
    }

    fn judge(&mut self, events: &[Event]) {
        let mut claims: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
        for event in events {
            let kv = event.kv.clone().unwrap_or_default();
            let is_data = kv.key.starts_with(b"data/");
            match (is_data, event.r#type()) {
                (true, EventType::Put) => {
                    self.writes += 1;
                    let value = String::from_utf8_lossy(&kv.value).into_owned();
                    let (token, count) = value.split_once(':').unwrap();
                    let (token, count): (i64, u64) =
                        (token.parse().unwrap(), count.parse().unwrap());
                    let holder = claims.keys().next().copied();
                    if holder != Some(token) {
                        let at = kv.mod_revision;
                        let what = format!("{value} at revision {at}, holder {holder:?}");
                        self.stale.push(what);
                    }
                    self.unguarded += usize::from(count % 2 == 1);
                }
                (true, EventType::Delete) => unreachable!("nobody deletes data"),
                (false, EventType::Put) => {
                    claims.insert(kv.create_revision, kv.key.to_vec());
                }
                (false, EventType::Delete) => claims.retain(|_, key| *key != kv.key),
            }
        }
    }

    pub(super) fn assert_enough(&self, grants: usize, pauses: usize, kills: usize) {
        assert!(self.grants >= grants, "{self}");
        assert!(self.pauses >= pauses, "{self}");
        assert!(self.kills >= kills, "{self}");
        assert!(self.writes > grants, "{self}");
        assert!(
            self.refused > 0,
            "no late write was even tried, so none could be refused: {self}"
        );
    }
}

fn count(journals: &[Journal], what: &What) -> usize {
    let notes = journals.iter().flat_map(|journal| &journal.notes);
    notes.filter(|note| note.what == *what).count()
}

/// Whether harm was done already.
pub(super) async fn has_stale(cluster: &Cluster) -> bool {
    let audit = Audit::of(cluster, &[], 0, 0).await;
    !audit.stale.is_empty()
}

/// Every change of a lock's claims and of its data, in the order of revisions.
async fn history(cluster: &Cluster, lock: usize) -> Vec<Event> {
    let leader = cluster.leader().await;
    let calls = cluster.node(leader).calls();
    let end = calls.put("end", "of the run").await.unwrap();
    let mut all = Vec::new();
    for prefix in [format!("{}/", lock_name(lock)), data_key(lock)] {
        let mut watching = Watching::prefix(&calls, &prefix, 1).await.unwrap();
        loop {
            watching.ask_progress().await.unwrap();
            let response = watching.next(HISTORY_MAX).await.unwrap();
            let is_mark = response.events.is_empty() && !response.canceled;
            all.extend(response.events);
            if is_mark && response.header.unwrap_or_default().revision >= end {
                break;
            }
        }
    }
    all.sort_by_key(|event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision));
    all
}

/// Listens to the ends of claims as they happen, to know when they do.
pub(super) struct Ends {
    stop: oneshot::Sender<()>,
    listening: JoinHandle<Vec<End>>,
}

/// The end of a claim: its key's create revision, and when the deletion was heard of.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    token: i64,
    at: u128,
}

impl Ends {
    pub(super) async fn finish(self) -> Vec<End> {
        self.stop.send(()).expect("it listens until it is told");
        self.listening.await.unwrap()
    }
}

pub(super) async fn watch_ends(calls: &Calls, addresses: &[String]) -> Ends {
    let first = open_ends(calls, 0).await.expect("a new cluster serves");
    let (stop, stopped) = oneshot::channel();
    let listening = tokio::spawn(listen(first, addresses.to_vec(), stopped));
    Ends { stop, listening }
}

async fn open_ends(calls: &Calls, revision: i64) -> Option<Watching> {
    let create = tenure_proto::etcdserverpb::WatchCreateRequest {
        key: "jobs/".into(),
        range_end: "jobs0".into(),
        start_revision: revision,
        prev_kv: true,
        ..Default::default()
    };
    Watching::create(calls, create).await.ok()
}

async fn listen(
    mut watching: Watching,
    addresses: Vec<String>,
    mut stopped: oneshot::Receiver<()>,
) -> Vec<End> {
    let (mut ends, mut next, mut node) = (Vec::new(), 0, 0);
    loop {
        let response = tokio::select! {
            // Cancel-safe, both.
            _ = &mut stopped => return ends,
            response = watching.next(HISTORY_MAX) => response,
        };
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_micros();
        match response {
            Ok(response) => {
                for event in response.events {
                    next = event.kv.as_ref().map_or(next, |kv| kv.mod_revision + 1);
                    if event.r#type() == EventType::Delete {
                        let token = event.prev_kv.map_or(0, |kv| kv.create_revision);
                        ends.push(End { token, at });
                    }
                }
            }
            // The node was killed: another tells the rest, later than it happened.
            Err(_) => loop {
                node = (node + 1) % addresses.len();
                if let Some(again) = open_ends(&Calls::to(&addresses[node]), next).await {
                    watching = again;
                    break;
                }
                // A pause between two attempts.
                tokio::time::sleep(REOPEN).await;
            },
        }
    }
}

/// Who knew what, and when.
pub(super) struct Timeline {
    /// For each lock, its turns by token.
    locks: Vec<BTreeMap<i64, Turn>>,
    ends: BTreeMap<i64, u128>,
    ttl: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    granted: u128,
    deadline: u128,
    lost: Option<u128>,
    /// When the holder set out to release what it still held.
    left: Option<u128>,
}

impl Timeline {
    pub(super) fn of(journals: &[Journal], ends: Vec<End>, ttl: Duration) -> Self {
        let mut locks = vec![BTreeMap::<i64, Turn>::new(); LOCKS];
        for journal in journals {
            for note in &journal.notes {
                let turn = locks[journal.lock].entry(note.token).or_default();
                match note.what {
                    What::Granted => turn.granted = note.at,
                    What::Deadline(deadline) => turn.deadline = turn.deadline.max(deadline),
                    What::Lost => turn.lost = Some(note.at),
                    What::Leaving(true) => turn.left = Some(note.at),
                    What::Leaving(false) | What::Released | What::Wrote | What::Refused => {}
                }
            }
        }
        let ends = ends.into_iter().map(|end| (end.token, end.at)).collect();
        Self { locks, ends, ttl }
    }

    /// Whoever lost a lock was told, or past its deadline, before the next was granted.
    pub(super) fn assert_losses_come_first(&self) {
        let mut losses = 0;
        for turns in &self.locks {
            let granted: Vec<_> = turns.iter().filter(|(_, turn)| turn.granted > 0).collect();
            for pair in granted.windows(2) {
                let [(token, turn), (next, then)] = pair else {
                    continue;
                };
                if turn.left.is_some_and(|left| left <= then.granted) {
                    continue;
                }
                losses += 1;
                let known = turn
                    .lost
                    .map_or(turn.deadline, |lost| lost.min(turn.deadline));
                assert!(
                    known <= then.granted,
                    "{token} counted on its lock until {known}, {next} was granted it at {}: \
                     {turn:?}",
                    then.granted
                );
            }
        }
        println!("{losses} locks were lost, each before the next grant");
        assert!(losses > 0, "no lock was lost, so nothing was shown");
    }

    /// No claim that its holder did not give back ended before its lease had lived its time since
    /// the last renewal that was acknowledged.
    pub(super) fn assert_leases_live_their_time(&self) {
        let margin = (self.ttl * MARGIN_PER_MILLE / 1000 + MARGIN).as_micros();
        let mut seen = 0;
        for (token, turn) in self.locks.iter().flatten() {
            let Some(end) = self.ends.get(token) else {
                continue;
            };
            if turn.left.is_some() || turn.granted == 0 {
                continue;
            }
            seen += 1;
            assert!(
                *end >= turn.deadline + margin,
                "{token} ended at {end}, its lease was good until {}",
                turn.deadline + margin
            );
        }
        println!("{seen} leases ran out, none before its time");
        assert!(seen > 0, "no lease ran out, so nothing was shown");
    }
}

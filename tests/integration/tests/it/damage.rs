//! Damage to any file of a node that is stopped: alone, it has all that it acknowledged or does not
//! serve and says which file; one of three, nothing acknowledged is lost, no revision is given out
//! twice, and in the end all hold the same or the damaged one has said why it ended.
//!
//! A sample of the cases runs with the other tests; `TENURE_DAMAGE=all`, which `make damage` sets,
//! runs all of them.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use tenure_testkit::{Cluster, Node, STATE_MAX, assert_same_everywhere, page, wait_until};

mod files;
mod model;

use self::{
    files::{Case, cases, copy, damage, sample},
    model::Model,
};

/// One in so many cases runs with the other tests.
const SAMPLED_ALONE: usize = 13;
const SAMPLED_OF_THREE: usize = 23;
/// Entries after which a snapshot is made.
const SNAPSHOT_ENTRIES: usize = 40;
/// Writes before the older copy: the log is purged by 512 entries.
const BEFORE: usize = 600;
/// What `/readyz` says while a node waits for the others' snapshot.
const WAITS: &str = "another one's snapshot";
/// What a node says whose newest snapshot does not reach to where its log begins.
const ANOTHER: &str = "the newest snapshot ends before the log begins";
/// Words of a refusal, one of which says what to do.
const REMEDIES: [&str; 3] = [
    "replace the member",
    "remove the file",
    "restore the identity file",
];

#[derive(Debug, Default)]
struct Counts {
    files: BTreeSet<PathBuf>,
    cases: usize,
    whole: usize,
    /// Of these, after they had ended and were started again.
    again: usize,
    refused: usize,
}

impl Counts {
    fn add(&mut self, case: &Case, outcome: &Outcome) {
        self.files.insert(case.kind());
        self.cases += 1;
        match outcome {
            Outcome::Whole { again } => {
                self.whole += 1;
                self.again += usize::from(*again);
            }
            Outcome::Refused => self.refused += 1,
        }
    }

    /// A lost write, or one that differs, has ended the test before.
    fn print(&self, who: &str) {
        println!(
            "{who}: {} kinds of files, {} mutations: {} all data, {} of them after another start; \
             {} refused by name; 0 silent",
            self.files.len(),
            self.cases,
            self.whole,
            self.again,
            self.refused
        );
    }
}

/// What a node that was damaged does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Serves,
    /// It brings back its state and waits for another member.
    Waits,
    /// It served, met the damage, and ended.
    Ends,
    /// It ended before it served.
    Refuses,
}

/// What became of a node that was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It has everything; `again` when it ended and was started again before.
    Whole {
        again: bool,
    },
    Refused,
}

async fn cluster(nodes: usize) -> Cluster {
    Cluster::builder(nodes)
        .flag("--snapshot-count", &SNAPSHOT_ENTRIES.to_string())
        .flag("--snapshot-catchup-entries", "5")
        .start()
        .await
}

fn step(sampled: usize) -> usize {
    let all = env::var("TENURE_DAMAGE").is_ok_and(|what| what == "all");
    if all { 1 } else { sampled }
}

/// Starts a node that was damaged, and waits until it serves, has ended, or waits for `others`.
async fn start(node: &mut Node, others: bool) -> Start {
    node.start();
    let what = format!("{} serves or ends", node.name());
    let address = node.address().to_owned();
    wait_until(&what, STATE_MAX, async || {
        if node.exited().is_some() {
            return Ok(Start::Refuses);
        }
        match page(&address, "/readyz").await {
            Ok(page) if page.status == 200 => Ok(Start::Serves),
            Ok(page) if others && page.body.contains(WAITS) => Ok(Start::Waits),
            Ok(page) => Err(page.body),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

/// Starts a node that was damaged, and sees what it does with what it finds.
async fn attempt(node: &mut Node, others: bool, model: &Model, case: &Case) -> Start {
    let before = node.log().len();
    let started = start(node, others).await;
    if started == Start::Waits || started == Start::Serves && serves(node, model, case).await {
        return started;
    }
    assert_said_why(node, before, case).await;
    if started == Start::Serves {
        Start::Ends
    } else {
        Start::Refuses
    }
}

/// Whether a node answers everything that was acknowledged; it ends otherwise. The hash reads what
/// no read of the model does, so that damage is not met later.
async fn serves(node: &mut Node, model: &Model, case: &Case) -> bool {
    let what = format!("{case}: {} answers or ends", node.name());
    wait_until(&what, STATE_MAX, async || {
        let answers = async {
            model.check(node, &case.to_string()).await?;
            node.calls().hash_kv(0).await.map(drop)
        };
        match answers.await {
            Ok(()) => Ok(true),
            Err(_) if node.exited().is_some() => Ok(false),
            Err(error) => Err(error),
        }
    })
    .await
}

/// Waits until the node is gone and checks that it named a file and what to do.
async fn assert_said_why(node: &mut Node, before: usize, case: &Case) {
    let status = node.wait_exit(STATE_MAX).await;
    assert!(!status.success(), "{case}: {status}");
    let said = node.log()[before..].to_owned();
    let directory = node.data_dir().display().to_string();
    let why: Vec<_> = said
        .lines()
        .filter(|line| line.contains("\"cause\":"))
        .collect();
    println!("{case}: {}", why.join("; "));
    let named = why.iter().any(|line| {
        let place = [directory.as_str(), ".log", "the log of member"]
            .iter()
            .any(|place| line.contains(place));
        place && REMEDIES.iter().any(|remedy| line.contains(remedy))
    });
    assert!(
        named,
        "{case}: it does not say which file and what to do: {said}"
    );
}

/// Waits until there is another snapshot than in the older copy, and none of those: a copy may hold
/// one that is about to be removed beside the newest.
async fn later_snapshot(snapshots: &Path, older: &Path) {
    wait_until("a later snapshot is the only one", STATE_MAX, async || {
        let (now, before) = (names(snapshots), names(older));
        let is_later = !now.is_empty() && now.is_disjoint(&before);
        is_later
            .then_some(())
            .ok_or_else(|| format!("{now:?}, and {before:?} before"))
    })
    .await;
}

/// What is in a folder.
fn names(folder: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

fn beside(node: &Node, name: &str) -> PathBuf {
    node.data_dir().with_extension(name)
}

#[tokio::test]
async fn a_node_alone_has_all_it_acknowledged_or_names_what_is_damaged() {
    let mut cluster = cluster(1).await;
    let calls = cluster.node(0).calls();
    let mut model = Model::new(&calls).await;
    model.write(&calls, BEFORE).await;
    let node = cluster.node_mut(0);
    node.terminate().await;
    let (sound, older) = (beside(node, "sound"), beside(node, "older"));
    copy(node.data_dir(), &older);
    node.restart().await;
    model.write(&calls, 130).await;
    // That an older log is one is told by the state, as far as that is on the disk.
    later_snapshot(&node.data_dir().join("snapshots"), &older.join("snapshots")).await;
    model.write(&calls, 10).await;
    // Its last entries are in the log alone.
    node.kill9();
    copy(node.data_dir(), &sound);
    let all = sample(cases(&sound), step(SAMPLED_ALONE));
    let mut counts = Counts::default();
    for case in &all {
        copy(&sound, node.data_dir());
        if damage(node.data_dir(), case, &older) {
            counts.add(case, &alone(node, &model, case).await);
        }
    }
    counts.print("a node alone");
    assert!(counts.whole > 0 && counts.refused > 0);
}

#[tokio::test]
async fn a_node_whose_newest_snapshot_is_older_than_its_log_makes_another() {
    let mut cluster = cluster(1).await;
    let calls = cluster.node(0).calls();
    let mut model = Model::new(&calls).await;
    model.write(&calls, BEFORE).await;
    let node = cluster.node_mut(0);
    node.terminate().await;
    let snapshots = node.data_dir().join("snapshots");
    let older = beside(node, "older");
    copy(&snapshots, &older);
    node.restart().await;
    model.write(&calls, 2 * BEFORE).await;
    later_snapshot(&snapshots, &older).await;
    let node = cluster.node_mut(0);
    // Then it begins behind the end of the older one.
    wait_until(
        "the log is shorter than what was written since",
        STATE_MAX,
        async || {
            let held = node.page("/metrics").await.metric("tenure_log_entries");
            let held = held.expect("a node tells how long its log is");
            if held < (2 * BEFORE) as f64 {
                Ok(())
            } else {
                Err(held)
            }
        },
    )
    .await;
    node.terminate().await;
    copy(&older, &snapshots);
    node.restart().await;
    model.check(node, "an older snapshot").await.unwrap();
    assert!(node.log().contains(ANOTHER), "{}", node.log_end());
}

async fn alone(node: &mut Node, model: &Model, case: &Case) -> Outcome {
    for again in [false, true] {
        if attempt(node, false, model, case).await == Start::Serves {
            node.kill9();
            return Outcome::Whole { again };
        }
    }
    Outcome::Refused
}

#[tokio::test]
async fn one_damaged_member_of_three_loses_nothing_and_ends_equal_or_says_why() {
    let mut cluster = cluster(3).await;
    let (a, b, c) = (0, 1, 2);
    let mut model = Model::new(&cluster.node(a).calls()).await;
    model.write(&cluster.node(a).calls(), BEFORE).await;
    let (sound, older) = (
        beside(cluster.node(c), "sound"),
        beside(cluster.node(c), "older"),
    );
    cluster.node_mut(c).terminate().await;
    copy(cluster.node(c).data_dir(), &older);
    let step = step(SAMPLED_OF_THREE);
    let rounds = cases(&older).len().div_ceil(step);
    cluster.node_mut(c).restart().await;
    let mut counts = Counts::default();
    for number in 0..rounds {
        model.write(&cluster.node(a).calls(), 10).await;
        assert_same_everywhere(&cluster).await;
        if number.is_multiple_of(2) {
            cluster.node_mut(c).terminate().await;
        } else {
            cluster.node_mut(c).kill9();
        }
        copy(cluster.node(c).data_dir(), &sound);
        cluster.leader_among(&[a, b]).await;
        model.write(&cluster.node(b).calls(), 10).await;
        // The names of most files change from start to start.
        let all = cases(&sound);
        let case = &all[number * step % all.len()];
        if damage(cluster.node(c).data_dir(), case, &older) {
            // Every other time the damaged one is needed for a quorum.
            let away = (number % 4 >= 2).then_some(a);
            let outcome = of_three(&mut cluster, &model, case, away).await;
            counts.add(case, &outcome);
            if outcome == Outcome::Refused {
                copy(&sound, cluster.node(c).data_dir());
                cluster.node_mut(c).restart().await;
            }
        } else {
            cluster.node_mut(c).restart().await;
        }
        for node in [a, b, c] {
            assert!(serves(cluster.node_mut(node), &model, case).await, "{case}");
        }
        assert_same_everywhere(&cluster).await;
    }
    counts.print("one of three, and all equal in the end");
    assert!(counts.cases > 0);
}

/// Starts the damaged third member, without the member `away` for as long as that takes.
async fn of_three(
    cluster: &mut Cluster,
    model: &Model,
    case: &Case,
    away: Option<usize>,
) -> Outcome {
    if let Some(away) = away {
        cluster.node_mut(away).kill9();
    }
    let (b, c) = (1, 2);
    let first = attempt(cluster.node_mut(c), true, model, case).await;
    if first == Start::Serves {
        assert!(serves(cluster.node_mut(b), model, case).await, "{case}");
    }
    let gone = matches!(first, Start::Ends | Start::Refuses);
    let second = if gone {
        attempt(cluster.node_mut(c), true, model, case).await
    } else {
        first
    };
    if let Some(away) = away {
        cluster.node_mut(away).restart().await;
    }
    if second == Start::Refuses {
        // What it promised would be taken back with the sound copy.
        assert!(first == Start::Refuses, "{case}: it does not come back");
        return Outcome::Refused;
    }
    assert!(second != Start::Ends, "{case}: it ends again");
    if second == Start::Waits {
        cluster.node_mut(c).wait_ready().await;
    }
    Outcome::Whole { again: gone }
}

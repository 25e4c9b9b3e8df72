//! Slow and hung disks: nothing acknowledged is lost, every node starts again, a leader whose disk
//! does not answer lets another lead, and one whose old files take long to remove leads on.
//!
//! A few cases run with the other tests. With `TENURE_SLOW_DISK=all`, which `make slow-disk` sets,
//! the whole matrix of delays, loads and roles runs and is printed as a table; with a number in
//! place of `all`, the part of it with that delay in milliseconds.

use std::{
    env, fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use tenure_testkit::{Acknowledged, Cluster, Load, STATE_MAX, SlowDisks, wait_until};

use crate::catch_up::newest_snapshot;

const NODES: usize = 3;
/// Tries of each case of the matrix.
const TRIES: usize = 3;
/// Most memory that a node with a hung disk may take more than it had. Its log keeps 32 MiB of what
/// is to be written, twice where it copies it; the rest is what clients still send.
const GROWTH_MAX_KB: u64 = 200 << 10;

/// Entries after which a snapshot is made where it is to be replaced soon.
const SNAPSHOT_ENTRIES: usize = 40;

/// How much is written at once.
#[derive(Clone, Copy, Debug)]
struct Traffic {
    name: &'static str,
    writers: usize,
    bytes: usize,
    /// Puts before the kill.
    puts: usize,
}

const LARGE: Traffic = Traffic {
    name: "6 x 1 MB",
    writers: 6,
    bytes: 1_000_000,
    puts: 60,
};

const TRAFFIC: [Traffic; 4] = [
    LARGE,
    Traffic {
        name: "8 x 100 kB",
        writers: 8,
        bytes: 100_000,
        puts: 200,
    },
    Traffic {
        name: "64 x 300 B",
        writers: 64,
        bytes: 300,
        puts: 1500,
    },
    Traffic {
        name: "400 x 300 B",
        writers: 400,
        bytes: 300,
        puts: 3000,
    },
];

const DELAYS_MS: [u64; 5] = [10, 30, 100, 300, 1500];

fn disks() -> Option<SlowDisks> {
    let disks = SlowDisks::new();
    if disks.is_none() {
        let notice = "SKIPPED: cc is not installed (Debian: gcc)\n";
        drop(std::io::stderr().write_all(notice.as_bytes()));
    }
    disks
}

async fn cluster(disks: &SlowDisks) -> Cluster {
    disks.under(Cluster::builder(NODES), NODES).start().await
}

/// Makes the disk of the leader or of a follower slow under load, kills that node, and starts it
/// again on a healthy disk.
async fn kill_on_a_slow_disk(
    disks: &SlowDisks,
    cluster: &mut Cluster,
    prefix: &str,
    traffic: Traffic,
    delay: Duration,
    leader: bool,
) {
    let leads = cluster.leader().await;
    let victim = if leader {
        leads
    } else {
        cluster.others(leads)[0]
    };
    let load = Load::sized(prefix, &cluster.addresses(), traffic.writers, traffic.bytes);
    load.wait_for(traffic.writers).await;
    disks.set(victim, delay);
    load.wait_for(traffic.puts).await;
    cluster.node_mut(victim).kill9();
    disks.set(victim, Duration::ZERO);
    cluster.node_mut(victim).restart().await;
    let acknowledged = load.finish().await;
    assert_all_kept(cluster, victim, &acknowledged).await;
}

/// Reads what was acknowledged one by one, at the node that was killed: there may be more of it
/// than fits one answer.
async fn assert_all_kept(cluster: &Cluster, node: usize, acknowledged: &[Acknowledged]) {
    let calls = cluster.node(node).calls();
    for put in acknowledged {
        let found = wait_until("a read is answered", STATE_MAX, async || {
            calls.get(&put.key).await
        })
        .await;
        let found = found.unwrap_or_else(|| panic!("{} is lost", put.key));
        assert!(found.value == put.value, "{} has another value", put.key);
    }
}

#[tokio::test]
async fn a_node_that_is_killed_while_its_disk_is_slow_starts_again_and_nothing_is_lost() {
    let Some(disks) = disks() else {
        return;
    };
    if let Ok(which) = env::var("TENURE_SLOW_DISK") {
        let chosen = |delay: &u64| which == "all" || which == delay.to_string();
        let delays: Vec<_> = DELAYS_MS.into_iter().filter(chosen).collect();
        assert!(!delays.is_empty(), "TENURE_SLOW_DISK={which} is no delay");
        return matrix(&disks, &delays).await;
    }
    let mut cluster = cluster(&disks).await;
    for (number, leader) in [false, true].into_iter().enumerate() {
        let prefix = format!("slow/{number}/");
        let delay = Duration::from_millis(300);
        kill_on_a_slow_disk(&disks, &mut cluster, &prefix, LARGE, delay, leader).await;
    }
}

async fn matrix(disks: &SlowDisks, delays_ms: &[u64]) {
    let mut runs = 0;
    println!("| delay | load | node | starts again, nothing lost | took |");
    println!("|---|---|---|---|---|");
    for &delay_ms in delays_ms {
        for traffic in TRAFFIC {
            for leader in [false, true] {
                let begun = Instant::now();
                let mut cluster = cluster(disks).await;
                for number in 0..TRIES {
                    let prefix = format!("slow/{number}/");
                    let delay = Duration::from_millis(delay_ms);
                    kill_on_a_slow_disk(disks, &mut cluster, &prefix, traffic, delay, leader).await;
                    runs += 1;
                }
                println!(
                    "| {delay_ms} ms | {} | {} | {TRIES} of {TRIES} | {:.0?} |",
                    traffic.name,
                    if leader { "leader" } else { "follower" },
                    begun.elapsed()
                );
            }
        }
    }
    println!("{runs} nodes were killed on slow disks, and all started again with everything");
}

/// The bytes of memory that a process has, in kibibytes.
fn resident_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_leader_whose_disk_hangs_lets_another_lead_says_so_and_ends() {
    let Some(disks) = disks() else {
        return;
    };
    let builder = Cluster::builder(NODES)
        .flag("--election-timeout", "500")
        .flag("--heartbeat-interval", "50");
    let mut cluster = disks.under(builder, NODES).start().await;
    let hung = cluster.leader().await;
    let others = cluster.others(hung);
    // Large values: the state's tables in memory fill, and cannot be written to the disk either.
    let mut load = Load::sized("hung/", &cluster.addresses(), 16, 20_000);
    load.wait_for(200).await;
    let before = resident_kb(cluster.node(hung).pid());
    disks.set(hung, Duration::from_hours(1));
    let begun = Instant::now();
    wait_until("another leads", STATE_MAX, async || {
        let leader = cluster.leader_among(&others).await;
        (leader != hung).then_some(()).ok_or("it leads on")
    })
    .await;
    println!("another led {:?} after the disk hung", begun.elapsed());
    load.resumed_after(Instant::now(), STATE_MAX).await;
    println!("writing went on {:?} after the disk hung", begun.elapsed());
    wait_until("it says that its disk hangs", STATE_MAX, async || {
        let page = cluster.node(hung).page("/readyz").await;
        let said = page.status == 503 && page.body.contains("[-]disk failed: a write to the log");
        said.then_some(()).ok_or(page.body)
    })
    .await;
    let after = resident_kb(cluster.node(hung).pid());
    println!("it took {before} KiB before, and {after} KiB with the disk hung");
    assert!(after < before + GROWTH_MAX_KB, "{before} KiB, then {after}");
    let ended = cluster.node_mut(hung).wait_exit(STATE_MAX).await;
    println!(
        "it ended {:?} after the disk hung: {ended}",
        begun.elapsed()
    );
    let log = cluster.node(hung).log();
    assert!(log.contains("the disk hangs"), "it did not say why: {log}");
    disks.set(hung, Duration::ZERO);
    cluster.node_mut(hung).restart().await;
    let acknowledged = load.finish().await;
    assert_all_kept(&cluster, hung, &acknowledged).await;
    tenure_testkit::assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn a_leader_whose_disk_stalled_for_a_while_is_of_use_again() {
    let Some(disks) = disks() else {
        return;
    };
    let cluster = cluster(&disks).await;
    let stalled = cluster.leader().await;
    let others = cluster.others(stalled);
    let load = Load::start("stall/", &cluster.addresses(), 8);
    load.wait_for(200).await;
    disks.set(stalled, Duration::from_hours(1));
    wait_until("another leads", STATE_MAX, async || {
        let leader = cluster.leader_among(&others).await;
        (leader != stalled).then_some(()).ok_or("it leads on")
    })
    .await;
    load.wait_for(100).await;
    disks.set(stalled, Duration::ZERO);
    wait_until("it is ready again", STATE_MAX, async || {
        let page = cluster.node(stalled).page("/readyz").await;
        (page.status == 200).then_some(()).ok_or(page.body)
    })
    .await;
    cluster.node(stalled).calls().put("k", "v").await.unwrap();
    let acknowledged = load.finish().await;
    assert_all_kept(&cluster, stalled, &acknowledged).await;
    tenure_testkit::assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn a_leader_whose_old_files_take_long_to_remove_leads_on() {
    let Some(disks) = disks() else {
        return;
    };
    let builder = Cluster::builder(NODES).flag("--snapshot-count", &SNAPSHOT_ENTRIES.to_string());
    let mut cluster = disks.under(builder, NODES).start().await;
    let leader = cluster.leader().await;
    let term = term_at(&cluster, leader).await;
    let snapshots = cluster.node(leader).data_dir().join("snapshots");
    // A snapshot has at least a handful of files: one of them takes as long as an election.
    disks.set_removals(leader, Duration::from_secs(1));
    let begun = newest_snapshot(&snapshots);
    let mut number = 0;
    while newest_snapshot(&snapshots) < begun + 3 {
        for _ in 0..SNAPSHOT_ENTRIES {
            let calls = cluster.node(leader).calls();
            calls.put(&format!("removal/{number}"), "v").await.unwrap();
            number += 1;
        }
    }
    let is_removing = |path: &Path| path.to_string_lossy().ends_with(".removed");
    let paths = fs::read_dir(&snapshots).unwrap();
    let removing = paths.filter(|path| is_removing(&path.as_ref().unwrap().path()));
    println!("{} snapshots are being removed", removing.count());
    assert_eq!(cluster.leader().await, leader);
    let now = term_at(&cluster, leader).await;
    assert_eq!(now, term, "there was an election");
    // It starts with what is left of them, and removes it.
    cluster.node_mut(leader).kill9();
    disks.set_removals(leader, Duration::ZERO);
    cluster.node_mut(leader).restart().await;
    wait_until("nothing is left of old snapshots", STATE_MAX, async || {
        let count = fs::read_dir(&snapshots).unwrap().count();
        (count == 1).then_some(()).ok_or(count)
    })
    .await;
}

async fn term_at(cluster: &Cluster, node: usize) -> u64 {
    cluster.node(node).calls().status().await.unwrap().raft_term
}

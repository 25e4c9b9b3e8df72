//! Power cuts under running nodes: what was acknowledged before a cut began is there after it.
//!
//! Each cycle writes, cuts the disks of one node, two, or all, ends those nodes, gives the disks
//! their power back, and starts the nodes again. A few cycles run with the other tests where the
//! machine lets file systems be mounted; `TENURE_POWER_LOSS`, which `make power-loss` sets, says
//! how many more.
//!
//! An answer may be on its way when a cut begins, so answers are told apart by when they came:
//! before the cut began, which is what is promised, and after. The latter are counted and, when one
//! is lost, printed with how long after the cut it came.

use std::{
    env,
    io::Write,
    time::{Duration, Instant},
};

use tenure_testkit::{
    Acknowledged, Cluster, Cut, Load, PowerDisks, assert_same_everywhere, wait_until,
};

mod syncs;

const NODES: usize = 3;
/// Cycles that run with the other tests.
const CYCLES: usize = 4;
const WRITERS: usize = 8;
/// Longest that a node may live on without its disk.
const GONE_MAX: Duration = Duration::from_secs(30);

/// What became of the answers of one cycle.
#[derive(Debug, Default)]
struct Tally {
    before: usize,
    lost_before: usize,
    after: usize,
    lost_after: usize,
}

impl Tally {
    /// The count of answers that came before the cut, or after it began, and how many are lost.
    const fn of(&mut self, before: bool) -> (&mut usize, &mut usize) {
        if before {
            (&mut self.before, &mut self.lost_before)
        } else {
            (&mut self.after, &mut self.lost_after)
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_before_the_power_was_cut_is_lost() {
    let Some(disks) = disks(NODES) else { return };
    let cycles = cycles();
    let mut cluster = Cluster::builder(NODES)
        .directory(disks.data())
        .start()
        .await;
    let mut all = Tally::default();
    for cycle in 0..cycles {
        let cut = which(cycle);
        let tally = cut_and_restore(&disks, &mut cluster, cycle, &cut).await;
        assert_eq!(tally.lost_before, 0, "cycle {cycle}: {tally:?}");
        all.before += tally.before;
        all.after += tally.after;
        all.lost_after += tally.lost_after;
    }
    println!(
        "{cycles} cuts: {} writes were acknowledged before, none of them is lost; {} after a cut \
         began, {} of them are lost",
        all.before, all.after, all.lost_after
    );
    assert_same_everywhere(&cluster).await;
}

fn cycles() -> usize {
    env::var("TENURE_POWER_LOSS").map_or(CYCLES, |number| {
        number.parse().expect("TENURE_POWER_LOSS is a number")
    })
}

/// Disks whose power can be cut, or a notice that there are none.
fn disks(number: usize) -> Option<PowerDisks> {
    PowerDisks::new(number)
        .inspect_err(|why| {
            let notice = format!("SKIPPED: no disks to cut: {why}\n");
            drop(std::io::stderr().write_all(notice.as_bytes()));
        })
        .ok()
}

/// Whose power is cut: each node in turn, then two, then all.
fn which(cycle: usize) -> Vec<usize> {
    let first = cycle / 4 % NODES;
    let count = [1, NODES, 2, NODES][cycle % 4];
    (0..count).map(|next| (first + next) % NODES).collect()
}

async fn cut_and_restore(
    disks: &PowerDisks,
    cluster: &mut Cluster,
    cycle: usize,
    nodes: &[usize],
) -> Tally {
    let load = Load::start(&format!("cut/{cycle}/"), &cluster.addresses(), WRITERS);
    // Another moment of the log each time.
    load.wait_for(50 + cycle * 37 % 200).await;
    let cut = disks.cut(nodes);
    for &node in nodes {
        end(cluster, node, cycle.is_multiple_of(2)).await;
    }
    let acknowledged = load.finish().await;
    for &node in nodes {
        disks.restore(node);
        cluster.node_mut(node).start();
    }
    for &node in nodes {
        cluster.node_mut(node).wait_ready().await;
    }
    tally(cluster, &acknowledged, cut, cycle).await
}

/// Ends a node without a disk: by itself, or as a power cut does, without waiting for it.
async fn end(cluster: &mut Cluster, node: usize, by_itself: bool) {
    if !by_itself {
        return cluster.node_mut(node).kill9();
    }
    let begun = Instant::now();
    let status = cluster.node_mut(node).wait_exit(GONE_MAX).await;
    println!(
        "m{node} ended {:?} after its disk was gone: {status}",
        begun.elapsed()
    );
}

async fn tally(cluster: &Cluster, acknowledged: &[Acknowledged], cut: Cut, cycle: usize) -> Tally {
    let mut tally = Tally::default();
    let calls = cluster.node(cycle % NODES).calls();
    for put in acknowledged {
        let found = wait_until("a read is answered", GONE_MAX, async || {
            calls.get(&put.key).await
        })
        .await;
        let kept = found.is_some_and(|kv| kv.value == put.value);
        let before = put.at <= cut.begun;
        if !kept {
            println!(
                "{} is lost: acknowledged {:?} {} the cut began, which took {:?}",
                put.key,
                if before {
                    cut.begun - put.at
                } else {
                    put.at - cut.begun
                },
                if before { "before" } else { "after" },
                cut.done - cut.begun,
            );
        }
        let (count, lost) = tally.of(before);
        *count += 1;
        *lost += usize::from(!kept);
    }
    tally
}

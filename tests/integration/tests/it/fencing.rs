//! A paused holder cannot write: the claim that tenure is made for, on real processes.
//!
//! Holders of a lock are stopped (SIGSTOP) longer than their lease lives, so that somebody else is
//! granted the lock, and then go on with the write they were about to make. Leaders are killed
//! meanwhile. The same holders without guards must be seen to do harm, or nothing is proved.

mod audit;
mod holders;
mod journal;

use std::time::Duration;

use tenure_testkit::{Calls, Cluster};

use self::{
    audit::{Audit, Timeline},
    holders::{Fleet, Mode},
};

/// Grants and pauses that a run goes on for.
const GRANTS: usize = 1_000;
/// As above.
const PAUSES: usize = 100;
/// Runs that must do harm end when they did, or after so many pauses.
const HARMFUL_PAUSES_MAX: usize = 100;
/// Turns that holders take between two rounds of pauses.
const GRANTS_BETWEEN: usize = 30;
/// Leaders that are killed in a run.
const LEADER_KILLS: usize = 3;
/// Longest that a run may take.
const RUN_MAX: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stale_write_is_accepted_when_holders_are_paused_and_writes_are_guarded() {
    let (audit, timeline) = run(Mode::Guards).await;
    println!("guards: {audit}");
    audit.assert_enough(GRANTS, PAUSES, LEADER_KILLS);
    assert_eq!(audit.stale, [] as [String; 0], "stale writes were accepted");
    timeline.assert_losses_come_first();
    timeline.assert_leases_live_their_time();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stale_write_is_accepted_below_a_fence_policy() {
    let (audit, timeline) = run(Mode::Policy).await;
    println!("policy: {audit}");
    audit.assert_enough(GRANTS, PAUSES, LEADER_KILLS);
    assert_eq!(audit.stale, [] as [String; 0], "stale writes were accepted");
    assert_eq!(audit.unguarded, 0, "a write without a guard was accepted");
    timeline.assert_losses_come_first();
    timeline.assert_leases_live_their_time();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_guards_the_same_holders_do_harm() {
    let (audit, timeline) = run(Mode::Off).await;
    println!("off: {audit}");
    assert!(
        !audit.stale.is_empty(),
        "the test does not bite: no stale write in {} pauses",
        audit.pauses
    );
    timeline.assert_losses_come_first();
    timeline.assert_leases_live_their_time();
}

/// Lets holders run, pauses them and kills leaders until there was enough of everything.
async fn run(mode: Mode) -> (Audit, Timeline) {
    let mut cluster = Cluster::start(3).await;
    let addresses = cluster.addresses();
    if mode == Mode::Policy {
        holders::set_policies(&addresses).await;
    }
    let ends = audit::watch_ends(&Calls::to(&addresses[0]), &addresses).await;
    let mut fleet = Fleet::start(mode, &addresses);
    let begun = std::time::Instant::now();
    let mut kills = 0;
    loop {
        // A round of pauses, one at each lock, ends when every lock has gone to another.
        fleet.pause_round().await;
        fleet.wait_for_grants(fleet.grants() + GRANTS_BETWEEN).await;
        let (grants, pauses) = (fleet.grants(), fleet.pauses());
        let due = (kills + 1) * PAUSES / (LEADER_KILLS + 1);
        if mode != Mode::Off && kills < LEADER_KILLS && pauses >= due {
            let leader = cluster.leader().await;
            cluster.node_mut(leader).kill9();
            fleet.pause_round().await;
            cluster.node_mut(leader).restart().await;
            kills += 1;
        }
        let enough = match mode {
            Mode::Off => {
                pauses >= HARMFUL_PAUSES_MAX
                    || (pauses >= PAUSES / 10 && audit::has_stale(&cluster).await)
            }
            Mode::Guards | Mode::Policy => {
                grants >= GRANTS && pauses >= PAUSES && kills == LEADER_KILLS
            }
        };
        if enough {
            break;
        }
        assert!(
            begun.elapsed() < RUN_MAX,
            "only {grants} grants and {pauses} pauses in {RUN_MAX:?}"
        );
    }
    let journals = fleet.finish();
    let audit = Audit::of(&cluster, &journals, fleet.pauses(), kills).await;
    let timeline = Timeline::of(&journals, ends.finish().await, fleet.ttl());
    println!("a run of {:?}", begun.elapsed());
    (audit, timeline)
}

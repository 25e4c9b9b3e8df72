//! Tests of the expirer against a fake node whose clock the test moves.

use std::sync::atomic::Ordering;

use tenure_statemachine::{ClaimCommand, Command, LeaseGrant, MemberId};

use super::*;
use crate::{
    node::ReadIndexError,
    rpc::fake::{FakeNode, MEMBER, TERM},
};

/// Longest time that a test waits for an expected state.
const PATIENCE: Duration = Duration::from_secs(30);
const ELECTION: Duration = Duration::from_millis(1000);

fn expirer(node: &Arc<FakeNode>) -> Expirer {
    Expirer {
        replica: Arc::clone(node) as _,
        feed: Arc::clone(&node.feed),
        settings: ExpirerSettings::of(ELECTION),
        deadlines: Deadlines::default(),
        confirmed: ClusterTime::default(),
        content: ClusterTime::default(),
        graces: Graces::default(),
        term: TERM,
    }
}

fn grant(node: &FakeNode, id: i64, ttl: u64) {
    node.apply(&Command::LeaseGrant(LeaseGrant {
        id: LeaseId(id),
        ttl: Ttl(ttl),
    }));
}

fn leases(node: &FakeNode) -> Vec<i64> {
    let engine = node.engine();
    let reader = Reader::new(engine.as_ref()).expect("readable");
    reader
        .leases()
        .expect("readable")
        .into_iter()
        .map(|lease| lease.id.0)
        .collect()
}

/// Advances the time at the expirer's pace, with a check at each step, and returns when each lease
/// ended.
async fn pass(expirer: &mut Expirer, node: &FakeNode, until: u64) -> Vec<(u64, i64)> {
    let step = millis(expirer.settings.pace).0;
    let mut ended = Vec::new();
    let mut before = leases(node);
    while node.now.load(Ordering::SeqCst) < until {
        let now = node.now.fetch_add(step, Ordering::SeqCst) + step;
        expirer.look().await;
        let after = leases(node);
        ended.extend(
            before
                .iter()
                .filter(|id| !after.contains(id))
                .map(|&id| (now, id)),
        );
        before = after;
    }
    ended
}

#[tokio::test]
async fn leases_end_at_their_deadline_and_never_before() {
    let node = FakeNode::leading();
    let mut expirer = expirer(&node);
    expirer.take_over().await;
    grant(&node, 1, 5000);
    grant(&node, 2, 3000);
    grant(&node, 3, 60_000);
    assert_eq!(
        pass(&mut expirer, &node, 10_000).await,
        [(4000, 2), (6000, 1)]
    );
    assert_eq!(leases(&node), [3]);
}

#[tokio::test]
async fn a_renewal_moves_the_end() {
    let node = FakeNode::leading();
    let mut expirer = expirer(&node);
    expirer.take_over().await;
    grant(&node, 1, 3000);
    assert_eq!(pass(&mut expirer, &node, 3900).await, []);
    node.apply(&Command::LeaseRenew(vec![LeaseId(1)]));
    assert_eq!(pass(&mut expirer, &node, 9000).await, [(6900, 1)]);
}

#[tokio::test]
async fn a_renewal_that_gets_in_between_wins() {
    let node = FakeNode::leading();
    let mut expirer = expirer(&node);
    grant(&node, 1, 3000);
    let now = ClusterTime(10_000);
    node.now.store(now.0, Ordering::SeqCst);
    let expiries = expirer.examine(vec![LeaseId(1)], now).await;
    assert_eq!(expiries.len(), 1);
    node.apply(&Command::LeaseRenew(vec![LeaseId(1)]));
    assert!(expirer.expire(expiries, now).await);
    assert_eq!(leases(&node), [1]);
    assert_eq!(pass(&mut expirer, &node, 14_000).await, [(13_000, 1)]);
}

#[tokio::test]
async fn a_new_leader_gives_time_to_renew_but_not_a_new_life() {
    let node = FakeNode::leading();
    grant(&node, 1, 3000);
    grant(&node, 2, 60_000);
    // The last contact with the old leader is its stamp on these grants.
    node.now.store(50_000, Ordering::SeqCst);
    node.leaderless_ms.store(49_000, Ordering::SeqCst);
    let mut expirer = expirer(&node);
    expirer.take_over().await;
    // The first was due long ago and gets one more TTL at most; the second has longer to go.
    assert_eq!(
        pass(&mut expirer, &node, 70_000).await,
        [(53_000, 1), (61_000, 2)]
    );
}

#[tokio::test]
async fn quiet_under_the_old_leader_is_no_gap_and_gives_no_time() {
    let node = FakeNode::leading();
    grant(&node, 1, 10_000);
    // No entry for eight seconds, and then no leader for 1.8.
    node.now.store(10_800, Ordering::SeqCst);
    node.leaderless_ms.store(1800, Ordering::SeqCst);
    let mut expirer = expirer(&node);
    expirer.take_over().await;
    // Granted at 1 000; the grace of two election timeouts is for clients that just missed the old
    // leader.
    assert_eq!(pass(&mut expirer, &node, 30_000).await, [(12_800, 1)]);
}

#[tokio::test]
async fn a_lease_ends_though_leaders_come_and_go_on_a_quiet_quorum() {
    let node = FakeNode::leading();
    grant(&node, 1, 6000);
    node.leaderless_ms.store(1800, Ordering::SeqCst);
    let mut ended = Vec::new();
    for lead in 1..=4 {
        // One and a half seconds without a leader, then a leader for four.
        node.now.fetch_add(1500, Ordering::SeqCst);
        let mut expirer = expirer(&node);
        expirer.take_over().await;
        ended.extend(pass(&mut expirer, &node, 1000 + lead * 5500).await);
    }
    let &[(end, 1)] = ended.as_slice() else {
        panic!("{ended:?}")
    };
    assert!(
        end <= 10_000,
        "in the second lead, whose first two seconds are for renewals: {end}"
    );
}

#[tokio::test]
async fn leases_end_in_time_on_a_quiet_quorum_whatever_the_election_timeout() {
    for election_ms in [50, 250, 500, 501, 1000, 5000] {
        let node = FakeNode::leading();
        let mut expirer = expirer(&node);
        expirer.settings = ExpirerSettings::of(Duration::from_millis(election_ms));
        expirer.take_over().await;
        // The grace of the new leader has ended.
        assert_eq!(pass(&mut expirer, &node, 30_000).await, []);
        grant(&node, 1, 2000);
        let late = pass(&mut expirer, &node, 40_000).await;
        let &[(end, 1)] = late.as_slice() else {
            panic!("election timeout {election_ms} ms: {late:?}")
        };
        assert!(end <= 32_200, "election timeout {election_ms} ms: {end}");
    }
}

#[tokio::test]
async fn nothing_ends_without_a_quorum_and_afterwards_there_is_grace() {
    let node = FakeNode::leading();
    let mut expirer = expirer(&node);
    expirer.take_over().await;
    grant(&node, 1, 3000);
    grant(&node, 2, 100_000);
    *node.barrier_error.lock() = Some(ReadIndexError::TimedOut);
    assert_eq!(pass(&mut expirer, &node, 31_000).await, []);
    assert!(node.proposals.lock().is_empty());
    *node.barrier_error.lock() = None;
    // The quorum returns at 31 100: the lease gets its own TTL, not the length of the gap.
    assert_eq!(pass(&mut expirer, &node, 60_000).await, [(34_100, 1)]);
}

#[tokio::test]
async fn a_gap_that_ends_while_the_quorum_is_asked_gives_grace() {
    let node = FakeNode::leading();
    let mut expirer = expirer(&node);
    expirer.take_over().await;
    grant(&node, 1, 5000);
    assert_eq!(pass(&mut expirer, &node, 5000).await, []);
    // Followers stall during the read barrier; the lease falls due, and no renewal was possible.
    node.barrier_takes.store(5000, Ordering::SeqCst);
    let ended = pass(&mut expirer, &node, 10_500).await;
    node.barrier_takes.store(0, Ordering::SeqCst);
    assert_eq!(ended, []);
    let ended = pass(&mut expirer, &node, 40_000).await;
    let &[(end, 1)] = ended.as_slice() else {
        panic!("{ended:?}")
    };
    assert!(end >= 15_000, "five seconds after the gap: {end}");
}

#[tokio::test]
async fn what_was_proposed_under_another_leader_ends_nothing() {
    let node = FakeNode::leading();
    let mut expirer = expirer(&node);
    grant(&node, 1, 3000);
    node.now.store(10_000, Ordering::SeqCst);
    expirer.term = TERM - 1;
    let expiries = expirer.examine(vec![LeaseId(1)], ClusterTime(10_000)).await;
    assert!(expirer.expire(expiries, ClusterTime(10_000)).await);
    assert_eq!(leases(&node), [1]);
}

#[tokio::test]
async fn a_lease_of_an_id_that_was_used_before_ends_at_its_own_time() {
    let node = FakeNode::leading();
    let mut expirer = expirer(&node);
    expirer.take_over().await;
    grant(&node, 1, 60_000);
    assert_eq!(pass(&mut expirer, &node, 2000).await, []);
    node.apply(&Command::LeaseRevoke(LeaseId(1)));
    let acquire = tenure_statemachine::Acquire {
        names: vec!["a".into()],
        lease: LeaseId(1),
        grant: Some(Ttl(3000)),
        ..Default::default()
    };
    node.apply(&Command::Claim(ClaimCommand::Acquire(acquire)));
    assert_eq!(pass(&mut expirer, &node, 6000).await, [(5000, 1)]);
}

#[tokio::test]
async fn a_frozen_leader_gives_grace_when_it_wakes() {
    let node = FakeNode::leading();
    let mut expirer = expirer(&node);
    expirer.take_over().await;
    grant(&node, 1, 5000);
    assert_eq!(pass(&mut expirer, &node, 2000).await, []);
    node.now.fetch_add(20_000, Ordering::SeqCst);
    assert_eq!(pass(&mut expirer, &node, 40_000).await, [(27_100, 1)]);
}

#[tokio::test]
async fn many_leases_end_in_bounded_commands() {
    let node = FakeNode::leading();
    let mut expirer = expirer(&node);
    expirer.take_over().await;
    let count = EXPIRIES_PER_COMMAND_MAX as i64 * 2 + 1;
    for id in 1..=count {
        grant(&node, id, 5000);
    }
    assert_eq!(pass(&mut expirer, &node, 6000).await.len() as i64, count);
    let sizes: Vec<usize> = node
        .proposals
        .lock()
        .iter()
        .map(|command| match command {
            Command::LeaseExpire(expiries) => expiries.len(),
            other => panic!("only expiries, not {other:?}"),
        })
        .collect();
    assert_eq!(
        sizes,
        [EXPIRIES_PER_COMMAND_MAX, EXPIRIES_PER_COMMAND_MAX, 1]
    );
}

#[tokio::test]
async fn only_the_leader_ends_leases_and_one_that_comes_to_lead_does() {
    let node = FakeNode::leading();
    node.set_leader(Some(MemberId(9)));
    grant(&node, 1, 1000);
    node.now.store(5000, Ordering::SeqCst);
    let settings = ExpirerSettings {
        pace: Duration::from_millis(1),
        ..ExpirerSettings::of(ELECTION)
    };
    let running = Expirer::spawn(Arc::clone(&node) as _, Arc::clone(&node.feed), settings);
    tokio::task::yield_now().await;
    assert!(node.proposals.lock().is_empty());
    let mut applied = node.applied.subscribe();
    applied.mark_unchanged();
    node.set_leader(Some(MEMBER));
    let ended = async {
        while leases(&node) == [1] {
            node.now.fetch_add(500, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("ended in time");
    assert!(applied.has_changed().expect("the node lives"));
    running.abort();
}

#[tokio::test]
async fn a_leader_that_lost_its_quorum_and_kept_its_term_ends_leases_again() {
    let node = FakeNode::leading();
    let settings = ExpirerSettings {
        pace: Duration::from_millis(1),
        ..ExpirerSettings::of(ELECTION)
    };
    let running = Expirer::spawn(Arc::clone(&node) as _, Arc::clone(&node.feed), settings);
    // Cluster time passes at ten times the pace.
    let turns = async |node: &FakeNode, wanted: &dyn Fn() -> bool| {
        let reached = async {
            while !wanted() {
                node.now.fetch_add(10, Ordering::SeqCst);
                // A pause between two checks, at the pace of the expirer.
                sleep(settings.pace).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.is_ok()
    };
    // The expirer knows the first lease once it ends the second, which was granted later.
    grant(&node, 1, 100_000);
    grant(&node, 2, 100);
    assert!(turns(&node, &|| leases(&node) == [1]).await);
    node.set_leader(None);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    node.set_leader(Some(MEMBER));
    grant(&node, 3, 100);
    assert!(turns(&node, &|| leases(&node) == [1]).await);
    // A gap in time grants the first lease ten more seconds at most.
    node.now.fetch_add(100_000, Ordering::SeqCst);
    assert!(turns(&node, &|| leases(&node).is_empty()).await);
    running.abort();
}

//! A counter that clients at all nodes add to, over the death of a leader.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tenure_testkit::{Cluster, STATE_MAX, wait_until};
use tokio::time::timeout;

use super::client_at;

/// Clients that add at once, spread over the nodes.
const ADDERS: usize = 6;
/// What each does. Together it is small enough for a machine that is busy: of those that add at
/// once one succeeds.
const ADDS: usize = 15;
/// Adds after which the leader is killed.
const KILL_AFTER: usize = ADDERS * ADDS / 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_is_exact_when_a_leader_dies_while_clients_at_all_nodes_add() {
    let mut cluster = Cluster::start(3).await;
    let added = Arc::new(AtomicUsize::new(0));
    let mut adding = Vec::new();
    for adder in 0..ADDERS {
        let counter = client_at(&cluster, adder % 3)
            .await
            .recipes()
            .counter("orders");
        let added = Arc::clone(&added);
        // Each adds another number, so that a sum tells who is missing.
        let delta = 1 << adder;
        adding.push(tokio::spawn(async move {
            let mut sums = Vec::new();
            for _ in 0..ADDS {
                sums.push(counter.add(delta).await.unwrap());
                added.fetch_add(1, Ordering::SeqCst);
            }
            sums
        }));
    }
    wait_until("a part is added", STATE_MAX, async || {
        let added = added.load(Ordering::SeqCst);
        (added >= KILL_AFTER).then_some(()).ok_or(added)
    })
    .await;
    let leader = cluster.leader().await;
    cluster.node_mut(leader).kill9();
    let at_kill = added.load(Ordering::SeqCst);
    assert!(at_kill < ADDERS * ADDS, "the leader died too late");
    let mut sums = Vec::new();
    for adder in adding {
        sums.extend(timeout(STATE_MAX, adder).await.unwrap().unwrap());
    }
    cluster.node_mut(leader).restart().await;
    let total = (0..ADDERS).map(|adder| (ADDS << adder) as i64).sum::<i64>();
    for node in 0..3 {
        let counter = client_at(&cluster, node).await.recipes().counter("orders");
        assert_eq!(counter.get().await.unwrap().value, total, "at m{node}");
    }
    // Every add saw the number after it and nobody else's.
    sums.sort_unstable();
    assert!(sums.windows(2).all(|pair| pair[0] < pair[1]), "{sums:?}");
    assert_eq!((sums.len(), sums.last()), (ADDERS * ADDS, Some(&total)));
}

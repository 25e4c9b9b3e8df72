//! Linearizable reads while leaders stop, go on, hand over and die.
//!
//! The writer and the readers are in `register.rs`. Every test also reads serializably in the same
//! circumstances, and fails when the same check finds nothing wrong with that.

mod register;

use std::time::Instant;

use tenure_proto::etcdserverpb::MoveLeaderRequest;
use tenure_testkit::{Cluster, STATE_MAX, wait_until};

use self::register::{Mode, Read, Reads, Register};

/// Times that a leader is stopped.
const PAUSES: usize = 5;
/// Numbers that the next leader accepts before the old one goes on.
const WRITES_MEANWHILE: u64 = 30;
/// Numbers after reads were sent to a stopped node, in which they surely have left.
const WRITES_AFTER_ASKING: u64 = 5;
/// Reads of a kind that wait at a stopped node, and that are sent to it when it goes on.
const READS_AT_ONCE: usize = 16;
/// Times that the lead is moved.
const MOVES: usize = 30;
/// Leaders that are killed.
const KILLS: usize = 3;
/// Numbers between two changes of leader.
const WRITES_BETWEEN: u64 = 20;
/// Readers at each node, of each kind.
const READERS: usize = 2;

/// etcd #20418, #21399: a request for a read index was sent again under the id of one before it,
/// while the leader was stopped; the answer to the first, from the past, was taken for its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_stopped_answers_no_read_from_the_time_when_it_led() {
    let cluster = Cluster::start(3).await;
    let register = Register::start(&cluster, READERS, 0).await;
    let mut linearizable = Reads::default();
    let mut serializable = Reads::default();
    for _ in 0..PAUSES {
        register.advance(WRITES_BETWEEN).await;
        let old = cluster.leader().await;
        cluster.node(old).pause();
        let early = register.ask(old, Mode::Linearizable, READS_AT_ONCE);
        cluster.leader_among(&cluster.others(old)).await;
        register.advance(WRITES_MEANWHILE).await;
        let late = register.ask(old, Mode::Linearizable, READS_AT_ONCE);
        let unsafe_reads = register.ask(old, Mode::Serializable, READS_AT_ONCE);
        register.advance(WRITES_AFTER_ASKING).await;
        let resumed = Instant::now();
        cluster.node(old).resume();
        let after = register.ask(old, Mode::Linearizable, READS_AT_ONCE);
        let first = wait_until("the old leader reads", STATE_MAX, async || {
            register.read(old).await
        })
        .await;
        println!("m{old} read {:?} after it went on", resumed.elapsed());
        linearizable.answered.push(first);
        for asked in [early, late, after] {
            linearizable.merge(asked.answers().await);
        }
        serializable.merge(unsafe_reads.answers().await);
    }
    println!("at leaders that were stopped: {linearizable}; serializable: {serializable}");
    linearizable.assert_linearizable("at leaders that were stopped");
    assert_readers(register.finish().await);
    assert_bites(&serializable);
}

/// etcd #21375: a read index raced a change of leader, and the read saw less than was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_see_what_was_acknowledged_while_the_lead_moves() {
    let cluster = Cluster::start(3).await;
    let register = Register::start(&cluster, READERS, 1).await;
    let begun = Instant::now();
    for _ in 0..MOVES {
        register.advance(WRITES_BETWEEN).await;
        let leader = cluster.leader().await;
        let target = cluster.others(leader)[0];
        let request = MoveLeaderRequest {
            target_id: cluster.node(target).member_id().await,
        };
        let mut maintenance = cluster.node(leader).calls().maintenance();
        wait_until("another leads", STATE_MAX, async || {
            // Refused when it was done already.
            let moved = maintenance.move_leader(request).await;
            let now = cluster.leader().await;
            (now != leader).then_some(()).ok_or(format!("{moved:?}"))
        })
        .await;
    }
    println!("{MOVES} changes of leader in {:?}", begun.elapsed());
    assert_bites(&assert_readers(register.finish().await));
}

/// The same as above, with leaders that go without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_see_what_was_acknowledged_while_leaders_are_killed() {
    let mut cluster = Cluster::start(3).await;
    let register = Register::start(&cluster, READERS, 1).await;
    for _ in 0..KILLS {
        register.advance(WRITES_BETWEEN).await;
        let leader = cluster.leader().await;
        cluster.node_mut(leader).kill9();
        cluster.leader_among(&cluster.others(leader)).await;
        register.advance(WRITES_BETWEEN).await;
        cluster.node_mut(leader).restart().await;
    }
    assert_bites(&assert_readers(register.finish().await));
}

#[test]
fn the_check_rejects_reads_of_the_past_and_of_the_future() {
    let read = |floor, value, sent| Read { floor, value, sent };
    assert!(read(5, 4, 6).is_stale());
    assert!(!read(5, 5, 6).is_stale());
    assert!(read(5, 7, 6).is_invented());
    assert!(!read(5, 6, 6).is_invented());
}

/// Checks the linearizable readers, each node's for itself; what came of the serializable ones.
fn assert_readers(readers: Vec<(usize, Mode, Reads)>) -> Reads {
    let mut serializable = Reads::default();
    for (node, mode, reads) in readers {
        println!("a {mode:?} reader at m{node}: {reads}");
        match mode {
            Mode::Linearizable => reads.assert_linearizable(&format!("a reader at m{node}")),
            Mode::Serializable => serializable.merge(reads),
        }
    }
    serializable
}

fn assert_bites(serializable: &Reads) {
    assert!(
        !serializable.stale().is_empty(),
        "the test does not bite: serializable reads were as good: {serializable}"
    );
}

//! Linearizable reads while packets between the nodes are late, and nothing else is wrong.
//!
//! Late answers to the appends of a leader that was deposed must not pass for a confirmation that
//! it still leads. The packets are held in proxies; no clock is touched and nobody is stopped.

use std::{env, time::Duration};

use tenure_testkit::{Cluster, STATE_MAX, Way, wait_until};
use tokio::time::timeout;

/// Tries, unless the environment asks for another number.
const TRIES: usize = 3;
/// The variable that does.
const TRIES_VARIABLE: &str = "DELAYED_PACKETS_TRIES";
/// The key that is written and read.
const KEY: &str = "delayed";

/// A value that no heartbeat is as long as.
const VALUE_BYTES: usize = 8 << 10;
/// How long a read may take that is confirmed by answers which are there.
const ANSWER_MAX: Duration = Duration::from_millis(300);

/// What became of the read of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// It was answered from before a write that was acknowledged when it began.
    Stale,
    Fresh,
    Refused,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_answers_to_a_deposed_leader_do_not_confirm_its_reads() {
    let tries = env::var(TRIES_VARIABLE).map_or(TRIES, |tries| tries.parse().unwrap());
    let cluster = Cluster::builder(3).delayed().start().await;
    let (mut came, mut in_place) = (Vec::new(), 0);
    for number in 0..tries {
        let (read, unaware) = attempt(&cluster, number).await;
        println!("try {number}: {read:?}, the old leader unaware: {unaware}");
        came.push(read);
        in_place += usize::from(unaware);
    }
    let count = |what| came.iter().filter(|read| **read == what).count();
    let stale = count(Came::Stale);
    println!(
        "{tries} tries, in {in_place} the old leader knew of no other: {stale} stale reads, {} \
         fresh, {} refused",
        count(Came::Fresh),
        count(Came::Refused)
    );
    assert!(
        in_place > 0,
        "the test does not bite: no leader was unaware"
    );
    assert_eq!(stale, 0, "reads from before an acknowledged write");
}

/// What the read came to, and whether the old leader still thought that it led when it began.
async fn attempt(cluster: &Cluster, number: usize) -> (Came, bool) {
    let delays = cluster.delays();
    let old = cluster.leader().await;
    let others = cluster.others(old);
    let before = format!("{number} before");
    cluster.node(old).calls().put(KEY, &before).await.unwrap();

    // Both append what the leader sends, and it hears nothing of that.
    for &other in &others {
        delays.hold(old, other, Way::Replies);
    }
    let calls = cluster.node(old).calls();
    let count = |way| {
        others
            .iter()
            .map(|&to| delays.came(old, to, way))
            .collect::<Vec<_>>()
    };
    let (sent, answered) = (count(Way::Requests), count(Way::Replies));
    let unanswered = tokio::spawn(async move { calls.put(KEY, &"x".repeat(VALUE_BYTES)).await });
    let grown = |before: &[u64], way, by: usize| {
        let mut both = count(way).into_iter().zip(before);
        let all = both.all(|(now, before)| now >= before + by as u64);
        all.then_some(()).ok_or("nothing came")
    };
    let patient = async |what: &str, before: &[u64], way, by| {
        wait_until(what, STATE_MAX, async || grown(before, way, by)).await;
    };
    patient("the entry is sent", &sent, Way::Requests, VALUE_BYTES).await;
    patient("it is answered", &answered, Way::Replies, 1).await;
    // That may have been a heartbeat's; by the next, the entry's has come, too.
    let answered = count(Way::Replies);
    patient("a heartbeat is answered", &answered, Way::Replies, 1).await;

    // Another is elected, and acknowledges a write.
    for &other in &others {
        delays.hold(old, other, Way::Requests);
        delays.hold(other, old, Way::Requests);
        delays.hold(other, old, Way::Replies);
    }
    let new = cluster.leader_among(&others).await;
    let after = format!("{number} after");
    cluster.node(new).calls().put(KEY, &after).await.unwrap();

    // The old leader is asked, and then gets the answers to what it sent long before.
    let status = cluster.node(old).calls().status().await.unwrap();
    let unaware = status.leader == status.header.unwrap().member_id;
    let asked = count(Way::Requests);
    let calls = cluster.node(old).calls();
    let mut read = tokio::spawn(async move { calls.get(KEY).await });
    patient("the others are asked", &asked, Way::Requests, 1).await;
    let asked = count(Way::Requests);
    delays.release(old, others[0], Way::Replies);
    // The first answer is taken in, and what follows from it is sent, before the second comes.
    patient("the old leader goes on", &asked, Way::Requests, 1).await;
    delays.release(old, others[1], Way::Replies);
    // A confirmation by what is past shows at once; otherwise the truth answers the read.
    let early = timeout(ANSWER_MAX, &mut read).await;
    delays.release_all();
    let read = match early {
        Ok(read) => read.unwrap(),
        Err(_) => read.await.unwrap(),
    };
    drop(unanswered.await.unwrap());
    let came = match read {
        Ok(Some(found)) if found.value == after.as_bytes() => Came::Fresh,
        Ok(_) => Came::Stale,
        Err(_) => Came::Refused,
    };
    (came, unaware)
}

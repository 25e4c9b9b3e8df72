//! How fresh a read is asked to be, and how fresh its answer says it is, on real nodes.
//!
//! A node lags because it is stopped, and is cut off because the others are.

use std::time::{Duration, Instant};

use tenure::{Client, ErrorKind, Selector};
use tenure_proto::{
    etcdserverpb::RangeRequest,
    metadata::{
        AGE_METADATA, AT_LEAST_REVISION_METADATA, MAX_STALENESS_METADATA, MEMBER_METADATA,
        REASON_METADATA,
    },
    mvccpb::KeyValue,
};
use tenure_testkit::{Calls, Cluster, STATE_MAX, wait_until};
use tokio::time::timeout;
use tonic::{Code, Request, Status, metadata::MetadataMap};

/// Writes that are read at once elsewhere.
const WRITES: usize = 100;
/// Writes that a stopped node misses.
const MISSED: usize = 20;
/// Reads of a kind that wait at a stopped node.
const READS_AT_ONCE: usize = 16;
/// Times that a node is let fall behind, until one of them shows.
const TRIES: usize = 20;
/// Age that a reader still takes. Long enough that a follower which hears of its leader, and asks
/// it when in doubt, is younger.
const AGE_MAX: Duration = Duration::from_secs(2);
/// Age that no state here comes to.
const AGE_ANY: Duration = Duration::from_secs(600);
/// How far the test's clock and the node's may differ: fractions of a millisecond are rounded.
const ROUNDING: Duration = Duration::from_millis(1);

/// An answer and what it says of itself.
#[derive(Debug)]
struct Answer {
    kv: Option<KeyValue>,
    revision: i64,
    member: u64,
    age: Option<Duration>,
    told_member: Option<String>,
}

/// Reads a key as the node has it, with these wishes.
async fn read(calls: &Calls, wishes: &[(&'static str, String)]) -> Result<Answer, Status> {
    range(calls, true, wishes).await
}

async fn range(
    calls: &Calls,
    serializable: bool,
    wishes: &[(&'static str, String)],
) -> Result<Answer, Status> {
    let mut request = Request::new(RangeRequest {
        key: "k".into(),
        serializable,
        ..RangeRequest::default()
    });
    for (name, value) in wishes {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    let response = calls.kv().range(request).await?;
    let told = |name| text(response.metadata(), name);
    let age = told(AGE_METADATA).map(|age| Duration::from_millis(age.parse().unwrap()));
    let told_member = told(MEMBER_METADATA);
    let mut range = response.into_inner();
    let header = range.header.unwrap();
    Ok(Answer {
        kv: range.kvs.pop(),
        revision: header.revision,
        member: header.member_id,
        age,
        told_member,
    })
}

fn text(metadata: &MetadataMap, name: &str) -> Option<String> {
    let value = metadata.get(name)?;
    Some(value.to_str().unwrap().to_owned())
}

fn at_least(revision: i64) -> [(&'static str, String); 1] {
    [(AT_LEAST_REVISION_METADATA, revision.to_string())]
}

fn max_staleness(age: Duration) -> [(&'static str, String); 1] {
    [(MAX_STALENESS_METADATA, age.as_millis().to_string())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_shows_what_was_just_written_to_whoever_names_the_revision() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let writing = cluster.node(leader).calls();
    let mut stale = 0;
    for number in 0..WRITES {
        let follower = cluster.others(leader)[number % 2];
        let reading = cluster.node(follower).calls();
        let value = number.to_string();
        let revision = writing.put("k", &value).await.unwrap();
        // Without the wish the node need not know of it yet.
        let plain = read(&reading, &[]).await.unwrap();
        stale += usize::from(plain.revision < revision);
        let answer = read(&reading, &at_least(revision)).await.unwrap();
        assert!(answer.revision >= revision, "{answer:?}");
        assert_eq!(answer.kv.unwrap().value, value);
    }
    println!("{stale} of {WRITES} reads without a wish showed the past");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_behind_answers_when_it_has_caught_up() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    // A node that goes on may apply what it missed before it reads what it is asked.
    for _ in 0..TRIES {
        let stale = reads_of_the_past(&cluster, leader, follower).await;
        println!("{stale} of {READS_AT_ONCE} reads without a wish showed the past");
        if stale > 0 {
            return;
        }
    }
    panic!("the test does not bite: the node was not behind");
}

/// Lets the follower fall behind and asks it: it answers those who name the revision when it has
/// caught up. Returns how many who named none were answered from the past.
async fn reads_of_the_past(cluster: &Cluster, leader: usize, follower: usize) -> usize {
    let writing = cluster.node(leader).calls();
    writing.put("k", "before").await.unwrap();
    let reading = cluster.node(follower).calls();
    // Connected before it is stopped.
    reading.get("k").await.unwrap();
    cluster.node(follower).pause();
    let mut revision = 0;
    for number in 0..MISSED {
        revision = writing.put("k", &number.to_string()).await.unwrap();
    }
    let ask = |wishes: Vec<(&'static str, String)>| {
        let reading = reading.clone();
        tokio::spawn(async move { read(&reading, &wishes).await.unwrap() })
    };
    let plain: Vec<_> = (0..READS_AT_ONCE).map(|_| ask(Vec::new())).collect();
    let waiting: Vec<_> = (0..READS_AT_ONCE)
        .map(|_| ask(at_least(revision).to_vec()))
        .collect();
    // As soon as these are acknowledged the reads have left.
    for _ in 0..2 {
        writing.put("other", "").await.unwrap();
    }
    assert!(plain.iter().chain(&waiting).all(|read| !read.is_finished()));
    cluster.node(follower).resume();
    for read in waiting {
        let answer = timeout(STATE_MAX, read).await.unwrap().unwrap();
        assert!(answer.revision >= revision, "{answer:?}");
        assert_eq!(answer.kv.unwrap().value, (MISSED - 1).to_string());
    }
    let mut stale = 0;
    for read in plain {
        let answer = timeout(STATE_MAX, read).await.unwrap().unwrap();
        stale += usize::from(answer.revision < revision);
    }
    stale
}

#[tokio::test]
async fn a_revision_that_does_not_come_is_refused_by_name() {
    let cluster = Cluster::start(1).await;
    let calls = cluster.node(0).calls();
    let revision = calls.put("k", "v").await.unwrap();
    let asked = revision + 1000;
    let refused = read(&calls, &at_least(asked)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let text = format!("tenure: revision is not reached: asked {asked}, here {revision}");
    assert_eq!(refused.message(), text);
    let reason = self::text(refused.metadata(), REASON_METADATA);
    assert_eq!(reason.as_deref(), Some("RevisionNotReached"));
}

#[tokio::test]
async fn an_answer_says_of_which_revision_it_is_how_old_and_by_whom() {
    let cluster = Cluster::start(3).await;
    let revision = cluster.node(0).calls().put("k", "v").await.unwrap();
    for node in cluster.nodes() {
        let calls = node.calls();
        let id = node.member_id().await;
        let begun = Instant::now();
        let linearizable = range(&calls, false, &[]).await.unwrap();
        // It was confirmed after it was asked.
        assert!(linearizable.age.unwrap() <= begun.elapsed() + ROUNDING);
        let bounded = read(&calls, &max_staleness(AGE_MAX)).await.unwrap();
        assert!(bounded.age.unwrap() <= AGE_MAX, "{bounded:?}");
        for answer in [linearizable, bounded] {
            assert_eq!((answer.revision, answer.member), (revision, id));
            assert_eq!(answer.told_member, Some(format!("{id:x}")));
        }
    }
}

/// Whichever is left: the leader's knowledge ages like a follower's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_says_how_old_it_is_and_refuses_who_wants_it_younger() {
    let cluster = Cluster::start(3).await;
    let revision = cluster.node(0).calls().put("k", "v").await.unwrap();
    let leader = cluster.leader().await;
    for left in [cluster.others(leader)[0], leader] {
        // The one that leads may have changed, which is no matter.
        let calls = cluster.node(left).calls();
        wait_until("it is young", STATE_MAX, async || {
            read(&calls, &max_staleness(AGE_MAX)).await
        })
        .await;
        let others = cluster.others(left);
        others.iter().for_each(|other| cluster.node(*other).pause());
        let paused = Instant::now();
        let refused = wait_until("it is too old", STATE_MAX, async || {
            let passed = paused.elapsed();
            match read(&calls, &max_staleness(AGE_MAX)).await {
                Ok(answer) => {
                    let age = answer.age.expect("a bounded answer has an age");
                    assert!(age <= AGE_MAX, "it is too old: {answer:?}");
                    assert!(age + ROUNDING >= passed, "it is older: {answer:?}");
                    Err(format!("{answer:?}"))
                }
                Err(refused) => Ok(refused),
            }
        })
        .await;
        assert_too_old(&refused);
        assert_client_is_told(&cluster, left).await;
        // Who takes it as old as it is gets it.
        let passed = paused.elapsed();
        let answer = read(&calls, &max_staleness(AGE_ANY)).await.unwrap();
        let age = answer.age.unwrap();
        println!("cut off for {passed:?}, m{left} says that it is {age:?} old");
        assert!(age + ROUNDING >= passed, "it is older than it says");
        assert_eq!(answer.kv.unwrap().value, "v");
        assert_eq!(answer.revision, revision);
        let plain = read(&calls, &[]).await.unwrap();
        assert!(plain.age.is_none_or(|age| age + ROUNDING >= passed));
        others
            .iter()
            .for_each(|other| cluster.node(*other).resume());
        wait_until("it is young again", STATE_MAX, async || {
            read(&calls, &max_staleness(AGE_MAX)).await
        })
        .await;
        cluster.leader().await;
    }
}

fn assert_too_old(refused: &Status) {
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let reason = text(refused.metadata(), REASON_METADATA);
    assert_eq!(reason.as_deref(), Some("TooOld"), "{refused}");
    let message = refused.message();
    let begin = "tenure: state is older than asked: ";
    assert!(message.starts_with(begin), "{message}");
    let bound = format!("at most {} ms", AGE_MAX.as_millis());
    assert!(message.ends_with(&bound), "{message}");
}

/// The registry takes the same wish, as a field.
async fn assert_client_is_told(cluster: &Cluster, node: usize) {
    let client = Client::builder()
        .endpoints([cluster.node(node).address()])
        .attempts_max(1)
        .connect()
        .await
        .unwrap();
    let discover = client.registry().discover("s", Selector::any());
    let error = discover.clone().max_staleness(AGE_MAX).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("older than asked"), "{error}");
    let found = discover.max_staleness(AGE_ANY).await.unwrap();
    assert!(found.age() >= AGE_MAX, "{found:?}");
}

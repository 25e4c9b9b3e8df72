//! Compaction, and the hash over history that shows whether two servers kept the same.

use super::{
    ask::Question,
    pair::Pair,
    requests::{all_of, compact, delete, everything, get_at, hash, op, put},
};

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

#[tokio::test]
async fn compaction_answers_as_in_etcd() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.refused(compact(2), FUTURE).await;
    for value in ["1", "2", "3", "4"] {
        pair.ok(put("a", value)).await;
    }
    pair.refused(compact(6), FUTURE).await;
    pair.ok(compact(3)).await;
    pair.refused(compact(3), COMPACTED).await;
    pair.refused(compact(2), COMPACTED).await;
    pair.refused(get_at("a", 2), COMPACTED).await;
    pair.ok(get_at("a", 3)).await;
    pair.ok(compact(5)).await;
    pair.refused(compact(0), COMPACTED).await;
    pair.refused(compact(-1), COMPACTED).await;
    pair.ok(everything()).await;
}

#[tokio::test]
async fn history_hashes_as_in_etcd() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.ok(hash(0)).await;
    for value in ["1", "2"] {
        pair.ok(put("a", value)).await;
        pair.ok(put("b", value)).await;
        pair.ok(all_of(vec![
            op(put("c", value)),
            op(delete("a", "")),
            op(put("d", "")),
        ]))
        .await;
    }
    pair.ok(delete("\0", "\0")).await;
    pair.ok(put("a", "3")).await;
    pair.ok(put("e", "3")).await;
    let latest = pair
        .ok(everything())
        .await
        .revision
        .expect("a range has a revision");
    for floor in 1..=latest {
        pair.refused(hash(latest + 1), FUTURE).await;
        for revision in -1..=latest {
            pair.same(hash(revision)).await;
        }
        pair.same(compact(floor)).await;
    }
    for revision in -1..=latest {
        pair.same(hash(revision)).await;
    }
}

#[tokio::test]
async fn the_hash_at_a_revision_is_after_its_compaction_what_etcd_said_before() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    for value in ["1", "2", "3"] {
        pair.ok(put("a", value)).await;
        pair.ok(put("b", value)).await;
        pair.ok(delete("b", "")).await;
        pair.ok(put("c", value)).await;
    }
    let mut before = Vec::new();
    for floor in [4, 5, 9, 13] {
        let question = Question::of(&hash(floor));
        before.push((pair.ok(hash(floor)).await, question));
        // Physical: the history is gone when this is answered.
        pair.ok(compact(floor)).await;
        for (said, question) in &before {
            let now = question.read(&pair.tenure().call(&question.call).await);
            assert_eq!(now, *said, "{question:?} after compaction at {floor}");
        }
    }
}

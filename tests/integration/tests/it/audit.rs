//! An operator ends a claim by force: the next in line has the lock, whatever the former holder
//! believes, and every node keeps a record of why.

use std::{future::IntoFuture, time::Duration};

use tenure::{ClaimLoss, Client, ErrorKind, Token};
use tenure_testkit::{Cluster, Node, STATE_MAX, wait_until};
use tokio::time::timeout;

/// A TTL that no test outlives: nothing here comes of a lease that ran out.
const LONG: Duration = Duration::from_secs(60);
/// Why.
const REASON: &str = "incident 4711: the worker hangs";

/// What a record of it says.
const MESSAGE: &str = "a claim was ended by force";

/// What a node has recorded about claims that were ended by force.
fn records(node: &Node) -> Vec<serde_json::Value> {
    let log = node.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &serde_json::Value| line["target"] == "audit" && line["message"] == MESSAGE)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_is_deposed_while_it_believes_writes_nothing_and_the_reason_is_kept() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let deaf = cluster.others(leader)[0];
    let operator = Client::connect([cluster.node(leader).address()])
        .await
        .unwrap();
    let holder = Client::connect([cluster.node(deaf).address()])
        .await
        .unwrap();
    let former = holder
        .locks()
        .acquire("jobs/42")
        .ttl(LONG)
        .principal("worker-1");
    let former = former.await.unwrap();
    former.guarded().put("state/jobs/42", "mine").await.unwrap();
    let next = operator
        .locks()
        .acquire("jobs/42")
        .ttl(LONG)
        .principal("worker-2");
    let next = tokio::spawn(next.into_future());
    wait_until("the next waits in line", STATE_MAX, async || {
        let queue = operator.locks().inspect("jobs/42").await;
        let queue = queue.map_err(|error| error.to_string())?;
        (queue.waiters().len() == 1)
            .then_some(())
            .ok_or("nobody waits".to_owned())
    })
    .await;
    // The node that tells the holder everything goes deaf, so it cannot hear of its end.
    cluster.node(deaf).pause();
    let token = former.token();
    let ended = operator
        .locks()
        .force_release("jobs/42", REASON)
        .token(token)
        .await;
    let ended = ended.unwrap();
    let ended = ended.as_slice();
    assert_eq!(ended.len(), 1);
    assert_eq!(
        (ended[0].token(), ended[0].principal()),
        (token, "worker-1")
    );
    let next = timeout(STATE_MAX, next).await.unwrap().unwrap().unwrap();
    assert!(next.token() > token);
    assert!(former.is_held(), "the former holder cannot know yet");
    next.guarded().put("state/jobs/42", "next").await.unwrap();
    // What it wrote in its belief, it wrote too late: straight, or once its node goes on.
    let late = operator.guarded([tenure::Guard::new("jobs/42", token)]);
    assert_refused(late.put("state/jobs/42", "late").await, next.token());
    cluster.node(deaf).resume();
    assert_refused(
        former.guarded().put("state/jobs/42", "late").await,
        next.token(),
    );
    let loss = timeout(STATE_MAX, former.lost()).await.unwrap();
    assert_eq!(loss, ClaimLoss::Revoked);
    let state = cluster.node(leader).calls().get("state/jobs/42").await;
    assert_eq!(state.unwrap().unwrap().value, "next");
    assert!(next.is_held());
    for node in cluster.nodes() {
        assert_recorded(node, token).await;
    }
}

fn assert_refused<T: std::fmt::Debug>(written: Result<T, tenure::Error>, current: Token) {
    let error = written.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleGuard, "{error}");
    assert_eq!(error.current_token(), Some(current));
}

/// Waits until a node, however late it heard, has one record with all that is to be known.
async fn assert_recorded(node: &Node, token: Token) {
    let record = wait_until("the end is recorded", STATE_MAX, async || {
        let mut records = records(node);
        assert!(records.len() <= 1, "one end is recorded once: {records:?}");
        records.pop().ok_or_else(|| node.log_end())
    })
    .await;
    let text = record.to_string();
    assert!(text.contains(REASON), "the reason is missing: {text}");
    assert_eq!(record["name"], "jobs/42", "{text}");
    assert_eq!(record["token"], token.to_string(), "{text}");
    assert_eq!(record["principal"], "worker-1", "{text}");
}

#[tokio::test]
async fn nobody_is_deposed_without_a_reason_or_by_a_wrong_token() {
    let cluster = Cluster::start(1).await;
    let client = Client::connect(cluster.addresses()).await.unwrap();
    let held = client.locks().acquire("jobs/42").ttl(LONG).await.unwrap();
    let error = client
        .locks()
        .force_release("jobs/42", "")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let wrong = Token::new(held.token().get() + 1);
    let forced = client
        .locks()
        .force_release("jobs/42", REASON)
        .token(wrong)
        .await;
    let error = forced.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotHolder, "{error}");
    assert_eq!(error.current_token(), Some(held.token()));
    held.guarded().put("state/jobs/42", "mine").await.unwrap();
    // An end that does happen is recorded after all that went before.
    client
        .locks()
        .force_release("jobs/42", REASON)
        .await
        .unwrap();
    let found = wait_until("the end is recorded", STATE_MAX, async || {
        let records = records(cluster.node(0));
        (!records.is_empty()).then_some(records).ok_or("no record")
    })
    .await;
    assert_eq!(found.len(), 1, "{found:?}");
}

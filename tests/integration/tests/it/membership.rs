//! Members are added, promoted, removed and moved while the cluster serves.

use std::time::Duration;

use tenure::{Client, ErrorKind, MemberId, MemberRole};
use tenure_testkit::{Cluster, wait_until};

/// Time limit for a state to arrive.
const STATE_MAX: Duration = Duration::from_secs(60);
/// The exit code of a member that was removed.
const REMOVED_CODE: i32 = 78;

async fn client(cluster: &Cluster, nodes: &[usize]) -> Client {
    let addresses = nodes
        .iter()
        .map(|&node| cluster.node(node).address().to_owned());
    Client::connect(addresses.collect::<Vec<_>>())
        .await
        .unwrap()
}

/// Adds a node as a member, and starts it.
async fn join(cluster: &mut Cluster, members: &[usize], role: MemberRole) -> (usize, MemberId) {
    let number = cluster.joining(members);
    let url = cluster.node(number).peer_url();
    let client = client(cluster, members).await;
    let added = client.cluster().add_member([url], role).await.unwrap();
    cluster.node_mut(number).start();
    (number, added.member().id())
}

/// Waits until a leader has given a member its vote.
async fn voting(cluster: &Cluster, id: MemberId) {
    let told = format!("\"{:x}\"", id.get());
    wait_until("the member votes", STATE_MAX, async || {
        let gave = |line: &&str| line.contains("votes from now on") && line.contains(&told);
        let found = cluster
            .nodes()
            .iter()
            .any(|node| node.log().lines().any(|line| gave(&line)));
        found.then_some(()).ok_or("not yet")
    })
    .await;
}

#[tokio::test]
async fn a_cluster_grows_to_five_loses_two_and_shrinks_to_three() {
    let mut cluster = Cluster::start(3).await;
    let all = client(&cluster, &[0, 1, 2]).await;
    all.put("k", "before").await.unwrap();
    let (three, three_id) = join(&mut cluster, &[0, 1, 2], MemberRole::Voter).await;
    cluster.node_mut(three).wait_ready().await;
    voting(&cluster, three_id).await;
    let (four, four_id) = join(&mut cluster, &[0, 1, 2, three], MemberRole::Voter).await;
    cluster.node_mut(four).wait_ready().await;
    voting(&cluster, four_id).await;

    // Three of five are a quorum, also without two of the founders.
    let lead = cluster.leader().await;
    let lost: Vec<usize> = [0, 1, 2].into_iter().filter(|it| *it != lead).collect();
    let kept = [lead, three, four];
    let ids = [
        cluster.node(lost[0]).member_id().await,
        cluster.node(lost[1]).member_id().await,
    ];
    for &node in &lost {
        cluster.node_mut(node).kill9();
    }
    let rest = client(&cluster, &kept).await;
    rest.put("k", "without two").await.unwrap();
    for id in ids {
        rest.cluster()
            .remove_member(MemberId::new(id))
            .await
            .unwrap();
    }
    let members = rest.cluster().members().await.unwrap();
    assert_eq!(members.iter().count(), 3);
    rest.put("k", "three").await.unwrap();

    // A member that was away when it was removed is told, and does not come back.
    cluster.node_mut(lost[0]).start();
    let ended = cluster.node_mut(lost[0]).wait_exit(STATE_MAX).await;
    assert_eq!(
        ended.code(),
        Some(REMOVED_CODE),
        "{}",
        cluster.node(lost[0]).log_end()
    );
    // Two of three are a quorum.
    cluster.node_mut(four).kill9();
    client(&cluster, &[lead, three])
        .await
        .put("k", "two of three")
        .await
        .unwrap();
}

#[tokio::test]
async fn the_leader_is_removed_and_ends_with_a_code_of_its_own() {
    let mut cluster = Cluster::start(3).await;
    let lead = cluster.leader().await;
    let id = cluster.node(lead).member_id().await;
    let others = cluster.others(lead);
    let all = client(&cluster, &[lead]).await;
    all.cluster()
        .remove_member(MemberId::new(id))
        .await
        .unwrap();
    let ended = cluster.node_mut(lead).wait_exit(STATE_MAX).await;
    assert_eq!(
        ended.code(),
        Some(REMOVED_CODE),
        "{}",
        cluster.node(lead).log_end()
    );
    let rest = client(&cluster, &others).await;
    rest.put("k", "v").await.unwrap();
    // Nor does it start again.
    cluster.node_mut(lead).start();
    let ended = cluster.node_mut(lead).wait_exit(STATE_MAX).await;
    assert_eq!(
        ended.code(),
        Some(REMOVED_CODE),
        "{}",
        cluster.node(lead).log_end()
    );
    let again = rest
        .cluster()
        .remove_member(MemberId::new(id))
        .await
        .unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_learner_is_promoted_once_it_is_in_sync() {
    let mut cluster = Cluster::start(1).await;
    let number = cluster.joining(&[0]);
    let url = cluster.node(number).peer_url();
    let lone = client(&cluster, &[0]).await;
    let added = lone
        .cluster()
        .add_member([url], MemberRole::Learner)
        .await
        .unwrap();
    let id = added.member().id();
    // The member that has not started costs no quorum.
    lone.put("k", "v").await.unwrap();
    let early = lone.cluster().promote_member(id).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::FailedPrecondition);
    cluster.node_mut(number).start();
    wait_until("it is promoted", STATE_MAX, async || {
        lone.cluster().promote_member(id).await.map(drop)
    })
    .await;
    cluster.node_mut(number).wait_ready().await;
    let again = lone.cluster().promote_member(id).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::FailedPrecondition);
    // Two voters need both.
    lone.put("k", "two").await.unwrap();
    client(&cluster, &[number])
        .await
        .put("k", "through the new one")
        .await
        .unwrap();
}

//! Members are added, promoted, removed and moved while the cluster serves.

use std::time::Duration;

use tenure::{Client, ErrorKind, MemberId, MemberRole};
use tenure_testkit::{Cluster, Link, wait_until};

/// Time limit for a state to arrive.
const STATE_MAX: Duration = Duration::from_secs(60);
/// Puts of a long log, and the bytes of each.
const LONG_PUTS: usize = 40;
const LONG_BYTES: usize = 1 << 20;
/// A link on which a long log takes some ten seconds.
const NARROW_BYTES_PER_SECOND: u64 = 4 << 20;
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

/// Waits until every member has published its addresses: before, none is added.
async fn until_published(client: &Client) {
    wait_until("all members have published", STATE_MAX, async || {
        let members = client.cluster().members().await;
        let members = members.map_err(|error| error.to_string())?;
        let silent = members.iter().find(|it| it.client_urls().is_empty());
        silent.map_or(Ok(()), |it| Err(format!("{:x} has not", it.id().get())))
    })
    .await;
}

/// Adds a node as a member, and starts it.
async fn join(cluster: &mut Cluster, members: &[usize], role: MemberRole) -> (usize, MemberId) {
    let number = cluster.joining(members);
    let url = cluster.node(number).peer_url();
    let client = client(cluster, members).await;
    until_published(&client).await;
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

/// A cluster whose log is long, and begins with a member that is gone: its one member, which has
/// all of it.
async fn successor() -> (Cluster, usize) {
    let mut cluster = Cluster::builder(1).linked().start().await;
    let founder = cluster.node(0).member_id().await;
    let lone = client(&cluster, &[0]).await;
    // More than one message of replication holds, so that what follows arrives later.
    for number in 0..LONG_PUTS {
        let key = format!("long/{number}");
        lone.put(key, "v".repeat(LONG_BYTES)).await.unwrap();
    }
    let (successor, id) = join(&mut cluster, &[0], MemberRole::Voter).await;
    cluster.node_mut(successor).wait_ready().await;
    voting(&cluster, id).await;
    let both = client(&cluster, &[successor]).await;
    let founder = MemberId::new(founder);
    both.cluster().remove_member(founder).await.unwrap();
    let ended = cluster.node_mut(0).wait_exit(STATE_MAX).await;
    assert_eq!(ended.code(), Some(REMOVED_CODE));
    (cluster, successor)
}

/// Adds a member with a link of which `link` makes what it wants, and starts it.
async fn join_over(
    cluster: &mut Cluster,
    member: usize,
    link: impl FnOnce(&Link),
) -> (usize, MemberId) {
    let number = cluster.joining_through(&[member]);
    let url = cluster.node(number).peer_url();
    let client = client(cluster, &[member]).await;
    let added = client.cluster().add_member([url], MemberRole::Voter);
    let id = added.await.unwrap().member().id();
    link(cluster.link(number));
    cluster.node_mut(number).start();
    (number, id)
}

/// Regression: the log of a member that catches up names the members of long ago, so that it
/// refused the leader, asked those that are gone, and never got its vote.
#[tokio::test]
async fn a_member_whose_log_is_at_members_of_long_ago_accepts_the_leader() {
    let (mut cluster, successor) = successor().await;
    let (number, id) = join_over(&mut cluster, successor, |_| ()).await;
    voting(&cluster, id).await;
    cluster.node_mut(number).wait_ready().await;
}

/// Regression: it ended for ever, because the members that its log names do not include it.
#[tokio::test]
async fn a_member_that_is_killed_while_it_catches_up_comes_back() {
    let (mut cluster, successor) = successor().await;
    let narrow = |link: &Link| link.narrow(NARROW_BYTES_PER_SECOND, 0);
    let (number, id) = join_over(&mut cluster, successor, narrow).await;
    wait_until("a part has arrived", STATE_MAX, async || {
        let holds = cluster.link(number).passed() > NARROW_BYTES_PER_SECOND * 2;
        holds.then_some(()).ok_or("not yet")
    })
    .await;
    cluster.node_mut(number).kill9();
    cluster.link(number).narrow(0, 0);
    cluster.node_mut(number).start();
    voting(&cluster, id).await;
    cluster.node_mut(number).wait_ready().await;
}

/// Regression: it forgot of which members it had been told.
#[tokio::test]
async fn a_member_that_is_killed_before_its_first_entry_asks_again() {
    let mut cluster = Cluster::builder(1).linked().start().await;
    let (number, id) = join_over(&mut cluster, 0, |link| link.refuse(true)).await;
    let log = cluster.node(number).data_dir().join("log");
    wait_until("it has a log", STATE_MAX, async || {
        log.exists().then_some(()).ok_or("not yet")
    })
    .await;
    cluster.node_mut(number).kill9();
    cluster.link(number).refuse(false);
    cluster.node_mut(number).start();
    voting(&cluster, id).await;
    cluster.node_mut(number).wait_ready().await;
}

/// Regression: a member introduced itself, without an entry yet; by the time that arrived it had a
/// vote, was taken for one that lost its data, and ended.
#[tokio::test]
async fn a_member_whose_introduction_arrives_late_is_not_taken_for_one_that_lost_its_data() {
    let mut cluster = Cluster::builder(3).linked().start().await;
    let lead = cluster.leader().await;
    let late = cluster.others(lead)[0];
    cluster.link(late).hold(true);
    let (number, id) = join_over(&mut cluster, lead, |_| ()).await;
    voting(&cluster, id).await;
    cluster.link(late).hold(false);
    cluster.node_mut(number).wait_ready().await;
    let of_late = client(&cluster, &[late]).await;
    wait_until("the last one knows it", STATE_MAX, async || {
        let status = of_late.maintenance().status().await;
        let errors = status.map(|it| it.into_wire().errors);
        match errors {
            Ok(errors) if errors.is_empty() => Ok(()),
            Ok(errors) => Err(errors.join("; ")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    let lives = cluster.node_mut(number).exited();
    assert_eq!(lives, None, "{}", cluster.node(number).log_end());
}

/// Regression: it ended, because the one that it asked had not heard of it yet.
#[tokio::test]
async fn a_member_that_joins_through_one_that_lags_finds_its_place() {
    let mut cluster = Cluster::builder(3).linked().start().await;
    let lead = cluster.leader().await;
    let lagging = cluster.others(lead)[0];
    until_published(&client(&cluster, &[lead]).await).await;
    cluster.link(lagging).refuse(true);
    cluster.link(lagging).break_off();
    let number = cluster.joining_through(&[lagging]);
    let line = cluster.node(lagging).command_line();
    let at = line.iter().position(|word| word == "--listen-peer-urls");
    let direct = line[at.unwrap() + 1].clone();
    cluster.node_mut(number).set_flag("--join", Some(&direct));
    let url = cluster.node(number).peer_url();
    let all = client(&cluster, &[lead]).await;
    let added = all.cluster().add_member([url], MemberRole::Voter).await;
    let id = added.unwrap().member().id();
    cluster.node_mut(number).start();
    wait_until("it asks again", STATE_MAX, async || {
        let log = cluster.node(number).log();
        let asks = log.contains("the members may lag; they are asked again");
        asks.then_some(()).ok_or("not yet")
    })
    .await;
    cluster.link(lagging).refuse(false);
    voting(&cluster, id).await;
    cluster.node_mut(number).wait_ready().await;
}

//! A quorum grows, loses machines for good, replaces them and shrinks, by `tenurectl` alone, while
//! Rust clients write.

use std::time::Duration;

use tenure_testkit::{Cluster, Tool, tenurectl, wait_until};

use crate::writers::Writers;

/// Time limit for a state to arrive.
const STATE_MAX: Duration = Duration::from_secs(60);

/// Runs a command that adds `node`, starts it once it is a member, and waits for the command, which
/// waits until the node votes.
async fn bring_in(cluster: &mut Cluster, tool: &Tool, command: &[&str], node: usize) {
    let url = cluster.node(node).peer_url();
    let name = format!("m{node}");
    let mut words = command.to_vec();
    words.extend([name.as_str(), "--peer-urls", &url, "--wait=1m"]);
    let added = async {
        wait_until("it is a member", STATE_MAX, async || {
            let listed = tool.run(&["member", "list"]).await;
            let is_listed = listed.out.contains(&url);
            is_listed.then_some(()).ok_or_else(|| format!("{listed:?}"))
        })
        .await;
        cluster.node_mut(node).start();
    };
    let (ran, ()) = tokio::join!(tool.run(&words), added);
    println!(
        "tenurectl {}: {}",
        words.join(" "),
        ran.err.trim().replace('\n', "; ")
    );
    drop(ran.ok());
    cluster.node_mut(node).wait_ready().await;
}

async fn members(tool: &Tool) -> usize {
    tool.run(&["member", "list"]).await.ok().lines().count()
}

#[tokio::test]
async fn a_quorum_grows_loses_two_and_shrinks_under_load_by_tenurectl_alone() {
    let mut cluster = Cluster::start(3).await;
    let founders = [0, 1, 2];
    let new: Vec<usize> = (0..4).map(|_| cluster.joining_through(&founders)).collect();
    let addresses: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|it| it.address().to_owned())
        .collect();
    let tool = Tool::new(tenurectl()).with(&["--endpoints", &addresses.join(",")]);
    let writers = Writers::exactly_once(&addresses).await;

    for &node in &new[..2] {
        bring_in(&mut cluster, &tool, &["member", "add"], node).await;
    }
    assert_eq!(members(&tool).await, 5);

    // The leader and another are lost at once, and do not come back.
    let five = [0, 1, 2, new[0], new[1]];
    let lead = cluster.leader_among(&five).await;
    let other = if lead == new[0] { new[1] } else { new[0] };
    let mut ids = Vec::new();
    for lost in [lead, other] {
        ids.push(format!("{:x}", cluster.node(lost).member_id().await));
    }
    for lost in [lead, other] {
        cluster.node_mut(lost).kill9();
    }
    for (id, node) in ids.iter().zip(&new[2..]) {
        bring_in(&mut cluster, &tool, &["member", "replace", id], *node).await;
    }
    assert_eq!(members(&tool).await, 5);

    // What leads goes, too: it hands over first.
    let mut left: Vec<usize> = five.into_iter().chain([new[2], new[3]]).collect();
    left.retain(|node| *node != lead && *node != other);
    for _ in 0..2 {
        let node = cluster.leader_among(&left).await;
        left.retain(|it| *it != node);
        let id = format!("{:x}", cluster.node(node).member_id().await);
        drop(tool.run(&["member", "remove", &id]).await.ok());
        cluster.node_mut(node).wait_exit(STATE_MAX).await;
    }
    assert_eq!(members(&tool).await, 3);

    writers.finish(&addresses).await;
}

#[tokio::test]
async fn leadership_moves_by_a_command_at_any_member() {
    let cluster = Cluster::start(3).await;
    let others = cluster.others(cluster.leader().await);
    let [through, target] = [others[0], others[1]];
    let endpoint = cluster.node(through).address();
    let tool = Tool::new(tenurectl()).with(&["--endpoints", endpoint]);
    let id = format!("{:x}", cluster.node(target).member_id().await);
    let moved = tool.run(&["move-leader", &id]).await.ok();
    assert!(moved.contains(&format!("to {id}")), "{moved}");
    assert_eq!(cluster.leader().await, target);
}

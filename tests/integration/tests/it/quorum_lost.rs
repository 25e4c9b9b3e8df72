//! A quorum that is lost for good: what is left is compared, and one member becomes the only one of
//! a new cluster.

use std::{path::PathBuf, process::Command, time::Duration};

use tenure_testkit::{Acknowledged, Cluster, Load, Node, Tool, tenurectl, wait_until};

/// Time limit for a state to arrive.
const STATE_MAX: Duration = Duration::from_secs(60);
const PREFIX: &str = "kept/";

/// Three nodes on which the same was written, and what was acknowledged.
async fn written() -> (Cluster, Vec<Acknowledged>) {
    let cluster = Cluster::start(3).await;
    let load = Load::start(PREFIX, &cluster.addresses(), 8);
    load.wait_for(200).await;
    let acknowledged = load.finish().await;
    let lead = cluster.leader().await;
    let expected = cluster.node(lead).calls().status().await.unwrap();
    for node in cluster.nodes() {
        wait_until("every member has the last entry", STATE_MAX, async || {
            let status = node.calls().status().await.map_err(|it| it.to_string())?;
            let has = status.raft_applied_index >= expected.raft_applied_index;
            has.then_some(()).ok_or_else(|| format!("{status:?}"))
        })
        .await;
    }
    (cluster, acknowledged)
}

/// Runs the server of `node` with one more flag, to its end.
fn run_with(node: &Node, flag: &str) -> (bool, String) {
    let line = node.command_line();
    let ran = Command::new(&line[0])
        .args(&line[1..])
        .arg(flag)
        .output()
        .unwrap();
    let text = [ran.stdout, ran.stderr].concat();
    (
        ran.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

async fn keys(node: &Node) -> Vec<String> {
    let found = node.calls().get_prefix(PREFIX).await.unwrap();
    let keys = found.into_iter().map(|it| it.key);
    keys.map(|key| String::from_utf8_lossy(&key).into_owned())
        .collect()
}

fn assert_all(found: &[String], acknowledged: &[Acknowledged]) {
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|it| !found.contains(&it.key))
        .collect();
    println!(
        "{} writes were acknowledged, {} are lost",
        acknowledged.len(),
        lost.len()
    );
    assert!(lost.is_empty(), "{lost:?}");
}

fn confirmation(plan: &str) -> String {
    let (_, word) = plan
        .trim_end()
        .rsplit_once("--recover=")
        .expect("a plan has a confirmation");
    word.to_owned()
}

/// Recovers the stopped node `left`, which is member `id`, as its operator does.
async fn recover(cluster: &mut Cluster, left: usize, id: &str) {
    // Nothing happens without the right confirmation.
    let (_, first) = run_with(cluster.node(left), "--recover=plan");
    println!("{first}");
    assert!(first.contains(id), "{first}");
    let (ok, refused) = run_with(cluster.node(left), "--recover=00000000");
    assert!(
        !ok && refused.contains("does not confirm the recovery"),
        "{refused}"
    );
    assert_eq!(
        run_with(cluster.node(left), "--recover=plan").1,
        first,
        "nothing was changed"
    );
    let word = confirmation(&first);
    cluster.node_mut(left).set_flag("--recover", Some(&word));
    cluster.node_mut(left).start();
    cluster.node_mut(left).wait_ready().await;

    // A flag that was left does nothing.
    cluster.node_mut(left).terminate().await;
    cluster.node_mut(left).restart().await;
    assert!(cluster.node(left).log().contains("remove the flag"));
    cluster.node_mut(left).set_flag("--recover", None);
    cluster.node_mut(left).terminate().await;
    cluster.node_mut(left).restart().await;
}

/// Checks that members of the old cluster stay out of the new one, even a majority of them.
async fn assert_stay_away(cluster: &mut Cluster, left: usize, lost: &[usize], tool: &Tool) {
    for &node in lost {
        cluster.node_mut(node).start();
    }
    let refusal = "refused a call on the peer port: cluster ID mismatch";
    wait_until(
        "the new cluster refuses the old one",
        STATE_MAX,
        async || {
            let log = cluster.node(left).log();
            log.contains(refusal).then_some(()).ok_or(log)
        },
    )
    .await;
    let members = tool.run(&["member", "list"]).await.ok();
    assert_eq!(members.lines().count(), 1, "{members}");
    for &node in lost {
        cluster.node_mut(node).kill9();
    }
}

#[tokio::test]
async fn the_member_that_is_left_is_recovered_by_the_plan_and_the_others_join_it() {
    let (mut cluster, acknowledged) = written().await;
    let left = cluster.others(cluster.leader().await)[0];
    let lost = cluster.others(left);
    let endpoint = cluster.node(left).address().to_owned();
    let tool = Tool::new(tenurectl()).with(&["--endpoints", &endpoint]);
    let all = cluster.addresses().join(",");
    let everyone = Tool::new(tenurectl()).with(&["--endpoints", &all]);
    let refused = everyone.run(&["recover", "plan"]).await;
    assert!(
        refused
            .err
            .contains("the quorum is not lost: 3 of 3 voters answer"),
        "{refused:?}"
    );
    for &node in &lost {
        cluster.node_mut(node).kill9();
    }

    // The plan names the member, and says what may be lost.
    let plan = tool.run(&["recover", "plan"]).await.ok();
    println!("{plan}");
    let id = format!("{:x}", cluster.node(left).member_id().await);
    assert!(
        plan.contains(&format!("({id}) ends last: recover this member")),
        "{plan}"
    );
    assert!(plan.matches("does not answer").count() == 2, "{plan}");
    cluster.node_mut(left).terminate().await;

    recover(&mut cluster, left, &id).await;
    assert_all(&keys(cluster.node(left)).await, &acknowledged);
    cluster.node(left).calls().put("after", "1").await.unwrap();
    assert_stay_away(&mut cluster, left, &lost, &tool).await;

    // New members make it three again.
    for _ in 0..2 {
        let node = cluster.joining_through(&[left]);
        let (name, url) = (
            cluster.node(node).name().to_owned(),
            cluster.node(node).peer_url(),
        );
        let added = tool
            .run(&["member", "add", &name, "--peer-urls", &url])
            .await;
        drop(added.ok());
        cluster.node_mut(node).start();
        cluster.node_mut(node).wait_ready().await;
        assert_all(&keys(cluster.node(node)).await, &acknowledged);
    }
}

#[tokio::test]
async fn a_member_is_forced_to_be_a_new_cluster_with_etcds_flag() {
    let (mut cluster, acknowledged) = written().await;
    let left = cluster.leader().await;
    for node in cluster.others(left) {
        cluster.node_mut(node).kill9();
    }
    cluster.node_mut(left).kill9();
    cluster.node_mut(left).add_switch("--force-new-cluster");
    cluster.node_mut(left).start();
    cluster.node_mut(left).wait_ready().await;
    assert_all(&keys(cluster.node(left)).await, &acknowledged);
    let before = cluster
        .node(left)
        .calls()
        .status()
        .await
        .unwrap()
        .header
        .unwrap();
    // As the only member it is not forced again.
    cluster.node_mut(left).terminate().await;
    cluster.node_mut(left).restart().await;
    let after = cluster
        .node(left)
        .calls()
        .status()
        .await
        .unwrap()
        .header
        .unwrap();
    assert_eq!(before.cluster_id, after.cluster_id);
    assert_eq!(before.member_id, after.member_id);
}

#[tokio::test]
async fn there_is_nothing_to_recover_in_a_new_directory() {
    let cluster = Cluster::builder(1).spawn();
    let node = cluster.node(0);
    let empty = PathBuf::from(format!("{}-empty", node.data_dir().display()));
    let flag = format!("--data-dir={}", empty.display());
    let line = node.command_line();
    let ran = Command::new(&line[0])
        .args(&line[1..])
        .args([&flag, "--recover=plan"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(text.contains("holds nothing to recover"), "{text}");
    assert_eq!(ran.status.code(), Some(1));
    std::fs::remove_dir_all(empty).unwrap();
}

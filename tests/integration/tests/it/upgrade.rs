//! A quorum of an earlier version is upgraded while clients write, and a downgrade is refused.
//!
//! `TENURE_OLD_TENURED` names the earlier program; `make upgrade` builds it. `TENURE_GO_LOAD` names
//! a load of etcd's Go client, which takes part when it is there.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tenure::{Client, MemberRole};
use tenure_statemachine::FeatureLevel;
use tenure_testkit::{Cluster, STATE_MAX, Tool, tenurectl, tenured, wait_until};
use tokio::{process::Child, time::timeout};

use crate::writers::Writers;

/// Puts between two steps.
const PUTS: usize = 200;
/// Longest that a node may take to refuse.
const REFUSAL_MAX: Duration = Duration::from_secs(30);

/// The program that a variable names; without it the test, or a part of it, is skipped loudly.
fn named(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    match &found {
        Some(path) => assert!(path.is_file(), "{variable} names no file"),
        None => {
            let notice = format!("SKIPPED: {variable} names no program (make upgrade sets it)\n");
            // Past the capture of a passing test: a skipped check must be seen.
            _ = std::io::stderr().write_all(notice.as_bytes());
        }
    }
    found
}

/// The feature level that a node says is in force; versions without levels say none.
async fn level(cluster: &Cluster, node: usize) -> Option<u16> {
    let page = cluster.node(node).page("/metrics").await;
    let line = page
        .body
        .lines()
        .find_map(|line| line.strip_prefix("tenure_feature_level "))?;
    line.trim().parse().ok()
}

/// Waits until a node says that this level is in force.
async fn reaches(cluster: &Cluster, node: usize, wanted: FeatureLevel) {
    wait_until("the feature level is raised", STATE_MAX, async || {
        let found = level(cluster, node).await;
        let arrived = found == Some(wanted.0);
        arrived
            .then_some(())
            .ok_or_else(|| format!("it is {found:?}"))
    })
    .await;
}

/// etcd's Go client at work, if there is one.
async fn go_load(addresses: &[String]) -> Option<Child> {
    let program = named("TENURE_GO_LOAD")?;
    let words: Vec<_> = addresses.iter().map(String::as_str).collect();
    let mut command = Tool::new(program).command(&words);
    Some(command.stdin(Stdio::piped()).spawn().unwrap())
}

/// Ends it, prints what it tells, and asserts that none of its calls failed.
async fn finish(load: Option<Child>) {
    let Some(mut load) = load else {
        return;
    };
    drop(load.stdin.take());
    let output = timeout(STATE_MAX, load.wait_with_output()).await;
    let output = output.expect("the load ends").unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("etcd's Go client: {}", told.trim());
    assert!(output.status.success(), "{told}{complained}");
}

/// Stops a node and starts it with another program on its data.
async fn becomes(cluster: &mut Cluster, node: usize, program: &Path) {
    let ended = cluster.node_mut(node).terminate().await;
    assert!(ended.success(), "{}", cluster.node(node).log_end());
    cluster.node_mut(node).set_program(program);
    cluster.node_mut(node).restart().await;
}

#[tokio::test]
async fn no_call_fails_while_a_quorum_is_upgraded_one_node_after_the_other() {
    let Some(old) = named("TENURE_OLD_TENURED") else {
        return;
    };
    let mut cluster = Cluster::builder(3).program(old.clone()).start().await;
    let addresses = cluster.addresses();
    let plain = Writers::plain(&addresses).await;
    let go = go_load(&addresses).await;
    plain.wait_for(PUTS).await;

    // The first one goes back once: nothing that is new is in force yet.
    for program in [tenured(), old.clone(), tenured()] {
        becomes(&mut cluster, 0, &program).await;
        plain.wait_for(PUTS).await;
    }
    becomes(&mut cluster, 1, &tenured()).await;
    plain.wait_for(PUTS).await;
    let mixed = level(&cluster, 0).await.unwrap_or_default();
    println!("feature level {mixed} with two versions");
    if mixed < FeatureLevel::RECONFIGURABLE.0 {
        refuses_new_members(&cluster).await;
    }
    if mixed < FeatureLevel::AUTHENTICATED.0 {
        refuses_users(&cluster).await;
    }
    becomes(&mut cluster, 2, &tenured()).await;
    for node in 0..3 {
        reaches(&cluster, node, FeatureLevel::NEWEST).await;
    }
    plain.wait_for(PUTS).await;

    finish(go).await;
    plain.finish(&addresses).await;
    admits_users(&cluster).await;
    println!(
        "feature level {} with the newer one alone",
        FeatureLevel::NEWEST
    );
}

/// While a member runs the version before, changes of the membership are refused by name.
async fn refuses_new_members(cluster: &Cluster) {
    let client = Client::connect([cluster.node(0).address()]).await.unwrap();
    let url = "http://127.0.0.1:1".to_owned();
    let added = client.cluster().add_member([url], MemberRole::Voter).await;
    let said = added
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(
        said.contains("runs a version that knows no changes"),
        "{said}"
    );
}

fn root(cluster: &Cluster, node: usize) -> Tool {
    let endpoint = cluster.node(node).address().to_owned();
    Tool::new(tenurectl()).with(&["--endpoints", &endpoint])
}

/// While a member runs the version before, there are no users, on no node, and nobody is locked
/// out by the attempt.
async fn refuses_users(cluster: &Cluster) {
    for node in 0..2 {
        let ctl = root(cluster, node);
        for words in [&["user", "add", "root:secret"][..], &["role", "add", "app"]] {
            let ran = ctl.run(words).await;
            assert_ne!(ran.code, Some(0), "{ran:?}");
            assert!(
                ran.err.contains("a member is too old for this request"),
                "{ran:?}"
            );
        }
        let ran = ctl.run(&["auth", "enable"]).await;
        assert_ne!(ran.code, Some(0), "{ran:?}");
    }
    cluster.node(2).calls().put("nobody", "1").await.unwrap();
}

/// With the newer version alone, users are added, and only they get in, on every node.
async fn admits_users(cluster: &Cluster) {
    let ctl = root(cluster, 0);
    for words in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        drop(ctl.run(words).await.ok());
    }
    for node in 0..3 {
        let ctl = root(cluster, node);
        let nobody = ctl.run(&["get", "nobody"]).await;
        assert!(nobody.err.contains("user name is empty"), "{nobody:?}");
        let words = ["--user", "root:secret", "get", "nobody"];
        assert!(ctl.run(&words).await.ok().contains('1'));
    }
}

#[tokio::test]
async fn a_node_refuses_to_go_back_to_a_version_that_does_not_know_what_is_in_force() {
    let Some(old) = named("TENURE_OLD_TENURED") else {
        return;
    };
    let mut cluster = Cluster::start(1).await;
    cluster.node(0).calls().put("k", "v").await.unwrap();
    reaches(&cluster, 0, FeatureLevel::NEWEST).await;
    assert!(cluster.node_mut(0).terminate().await.success());
    cluster.node_mut(0).set_program(&old);
    cluster.node_mut(0).start();
    let ended = cluster.node_mut(0).wait_exit(REFUSAL_MAX).await;
    assert!(!ended.success());
    let newest = FeatureLevel::NEWEST;
    let text = format!("this member is too old for feature level {newest}: it knows levels up to");
    let log = cluster.node(0).log();
    assert!(log.contains(&text), "{}", cluster.node(0).log_end());

    // Nothing was lost by the attempt.
    cluster.node_mut(0).set_program(&tenured());
    cluster.node_mut(0).restart().await;
    let client = Client::connect([cluster.node(0).address()]).await.unwrap();
    let got = client.get("k").await.unwrap();
    assert_eq!(got.kvs().len(), 1);
}

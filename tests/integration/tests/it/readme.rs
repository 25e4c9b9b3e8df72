//! What the README tells people to paste does what it says, and harms no other program.

use std::process::Stdio;

use tenure_testkit::{Cluster, STATE_MAX, Tool, tenurectl};
use tokio::{process::Command, time::timeout};

const README: &str = include_str!("../../../../README.md");

/// The first shell block below a heading.
fn block_below(heading: &str) -> &'static str {
    let (_, below) = README.split_once(heading).expect("the heading is there");
    let (_, block) = below.split_once("```sh\n").expect("a block follows");
    block.split_once("```").expect("the block ends").0
}

#[tokio::test]
async fn after_the_example_of_a_fenced_lock_etcdctl_gets_the_lock() {
    let cluster = Cluster::start(3).await;
    let endpoints = cluster.addresses();
    let directory = tempfile::tempdir().unwrap();
    let token_file = directory.path().join("token");
    let script = block_below("## Locks that cannot be broken by a pause")
        .replace("/tmp/token", &token_file.display().to_string());
    let programs = tenurectl();
    let programs = programs.parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let ran = Command::new("sh")
        .args(["-c", &script])
        .env("PATH", format!("{programs}:{path}"))
        .env("TENURECTL_ENDPOINTS", endpoints.join(","))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ran = timeout(STATE_MAX, ran).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(said.matches("guard is stale").count(), 1, "{said}");
    assert_eq!(said.matches("guard is missing").count(), 1, "{said}");

    let Some(etcdctl) = Tool::etcdctl(&endpoints) else {
        return;
    };
    let locking = etcdctl.run(&["lock", "jobs/42", "--", "echo", "mine"]);
    let ran = timeout(STATE_MAX, locking).await;
    let ran = ran.expect("nobody holds the lock, and no key is before etcdctl's");
    assert_eq!(ran.ok(), "mine\n");
}

#[tokio::test]
async fn a_lock_with_data_below_its_name_is_warned_of() {
    let cluster = Cluster::start(1).await;
    let tool = Tool::new(tenurectl()).with(&["--endpoints", &cluster.addresses()[0]]);
    let put = tool.run(&["put", "jobs/42/state", "running"]).await;
    assert_eq!(put.ok(), "OK\n");
    let ran = tool.run(&["lock", "jobs/42", "--", "echo", "mine"]).await;
    assert!(
        ran.err
            .contains("warning: jobs/42/state is below the name of the lock"),
        "{}",
        ran.err
    );
    assert_eq!(ran.ok(), "mine\n");
    let ran = tool.run(&["lock", "jobs/4", "--", "echo", "mine"]).await;
    assert_eq!((ran.err.as_str(), ran.out.as_str()), ("", "mine\n"));
}

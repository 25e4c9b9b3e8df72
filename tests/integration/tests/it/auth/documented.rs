//! What the page about users tells people to run does what it says.

use std::process::Stdio;

use tenure_testkit::{Cluster, STATE_MAX, Tool, tenurectl, wait_until};
use tokio::{process::Command, time::timeout};

const PAGE: &str = include_str!("../../../../../docs/operations/users.md");

/// Every shell block of the page, in order.
fn blocks() -> Vec<&'static str> {
    let blocks = PAGE.split("```sh\n").skip(1);
    blocks
        .map(|text| text.split_once("```").unwrap().0)
        .collect()
}

/// Runs a block with the variables that earlier ones have exported.
async fn run(cluster: &Cluster, exported: &mut String, block: &str) -> String {
    let programs = tenurectl().parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let ran = Command::new("sh")
        .args(["-c", &format!("set -e\n{exported}{block}")])
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("TENURECTL_ENDPOINTS", cluster.addresses().join(","))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ran = timeout(STATE_MAX, ran).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(ran.stdout), text(ran.stderr));
    assert!(ran.status.success(), "{block}\n{out}{err}");
    for line in block.lines().filter(|line| line.starts_with("export ")) {
        exported.push_str(line);
        exported.push('\n');
    }
    out
}

#[tokio::test]
async fn every_command_of_the_page_about_users_does_what_it_says() {
    let cluster = Cluster::start(1).await;
    let ctl = Tool::new(tenurectl()).with(&["--endpoints", cluster.node(0).address()]);
    wait_until("users are known", STATE_MAX, async || {
        let ran = ctl.run(&["role", "add", "first"]).await;
        match ran.code {
            Some(0) => Ok(()),
            _ => Err(ran.err),
        }
    })
    .await;
    let expected = [
        &[
            "User root created",
            "Authentication Enabled",
            "Status: true",
        ][..],
        &[
            "Role config-reader updated",
            "(prefix config/)",
            "yes, by config-reader",
        ],
        &["no\nalice may not write"],
        &["User billing created", "granted to user billing"],
        &["Password updated", "User alice deleted", "billing\nroot\n"],
        &["Authentication Disabled"],
    ];
    let blocks = blocks();
    assert_eq!(blocks.len(), expected.len(), "every block is expected");
    let mut exported = String::new();
    for (block, texts) in blocks.into_iter().zip(expected) {
        let said = run(&cluster, &mut exported, block).await;
        for text in texts {
            assert!(said.contains(text), "{block}\n{said}");
        }
    }
}

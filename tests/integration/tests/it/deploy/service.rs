//! The unit under a systemd of its own, and what it may do.
//!
//! The manager is a user's, in namespaces of its own, so the options that mount are off; the filter
//! of system calls, the dynamic user, the notices and the watchdog are on. The options themselves
//! are judged by systemd-analyze.

use std::{collections::BTreeSet, process::Stdio};

use tenure_testkit::{Cluster, Tool, find_program, free_port, tenurectl, tenured};

use super::{may_isolate, run, script, skip, top};

/// The highest exposure that is accepted, in tenths.
const EXPOSURE_MAX: u32 = 15;
const UNIT: &str = include_str!("../../../../../deploy/systemd/tenured.service");

#[tokio::test]
async fn systemd_knows_when_a_node_is_ready_hangs_stops_and_cannot_start() {
    if !std::path::Path::new("/lib/systemd/systemd").exists() {
        skip("systemd is not installed");
        return;
    }
    if !may_isolate(&["unshare", "systemctl", "setpriv"]) {
        return;
    }
    let variables = [
        ("TENURED_PROGRAM", tenured().display().to_string()),
        ("TENURECTL_PROGRAM", tenurectl().display().to_string()),
        ("CLIENT", free_port().to_string()),
        ("PEER", free_port().to_string()),
    ];
    let (passed, said) = run(&script("service.sh"), &variables).await;
    println!("{said}");
    assert!(passed, "{said}");
    for told in [
        "ready: active, ready",
        "a hanging node was started again",
        "stopped: inactive, success",
        "refused: failed, exit-code 2, started once",
    ] {
        assert!(said.contains(told), "{told:?} is missing in:\n{said}");
    }
}

#[test]
fn the_exposure_of_the_unit_is_low() {
    let Some(analyze) = find_program("systemd-analyze") else {
        skip("systemd-analyze is not installed");
        return;
    };
    let unit = top().join("deploy/systemd/tenured.service");
    let ran = std::process::Command::new(analyze)
        .args(["security", "--offline=true", "--no-pager"])
        .arg(unit)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let level = said
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for tenured.service: "))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .map(|level| level.replace('.', ""));
    let Some(Ok(level)) = level.map(|level| level.parse::<u32>()) else {
        // Versions before 250 cannot read a unit that is not installed.
        skip(&format!("systemd-analyze judges no files: {said}"));
        return;
    };
    println!("exposure {}.{}", level / 10, level % 10);
    assert!(level <= EXPOSURE_MAX, "{said}");
}

/// The system calls of a set of systemd.
fn calls_of(analyze: &std::path::Path, set: &str) -> BTreeSet<String> {
    let ran = std::process::Command::new(analyze)
        .args(["syscall-filter", "--no-pager", set])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let mut calls = BTreeSet::new();
    for line in text.lines().skip(1).map(str::trim) {
        if line.starts_with('@') {
            calls.append(&mut calls_of(analyze, line));
        } else if !line.is_empty() && !line.starts_with('#') {
            calls.insert(line.to_owned());
        }
    }
    calls
}

#[tokio::test]
async fn the_unit_permits_every_system_call_that_a_node_makes() {
    let (Some(analyze), Some(_)) = (find_program("systemd-analyze"), find_program("strace")) else {
        skip("systemd-analyze or strace is not installed");
        return;
    };
    assert!(UNIT.contains("SystemCallFilter=@system-service\n"));
    assert!(UNIT.contains("SystemCallFilter=~@privileged @resources\n"));
    let mut permitted = calls_of(&analyze, "@system-service");
    for set in ["@privileged", "@resources"] {
        let denied = calls_of(&analyze, set);
        permitted.retain(|call| !denied.contains(call));
    }
    assert!(UNIT.contains("SystemCallFilter=setpriority\n"));
    permitted.insert("setpriority".to_owned());
    assert!(permitted.len() > 200, "{permitted:?}");

    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace").display().to_string();
    let mut cluster = Cluster::builder(1)
        .flag("--snapshot-count", "50")
        .wrapper(&["strace", "-f", "-qq", "-o", &trace, "--"])
        .start()
        .await;
    let calls = cluster.node(0).calls();
    for number in 0..200 {
        calls.put(&format!("k{number}"), "v").await.unwrap();
    }
    let tool = Tool::new(tenurectl()).with(&["--endpoints", cluster.node(0).address()]);
    _ = tool.run(&["compaction", "100", "--physical"]).await.ok();
    _ = tool.run(&["endpoint", "status"]).await.ok();
    assert_eq!(cluster.node(0).page("/metrics").await.status, 200);
    // strace passes the signal on to its child, which is what stops.
    let node = std::fs::read_to_string(&trace).unwrap();
    let pid = node.split_whitespace().next().unwrap().to_owned();
    let stopped = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .stdout(Stdio::null())
        .status();
    assert!(stopped.unwrap().success());
    _ = cluster
        .node_mut(0)
        .wait_exit(tenure_testkit::STATE_MAX)
        .await;

    let trace = std::fs::read_to_string(&trace).unwrap();
    let made: BTreeSet<_> = trace.lines().filter_map(call_of).collect();
    assert!(
        made.contains("fdatasync") || made.contains("fsync"),
        "{made:?}"
    );
    let refused: Vec<_> = made
        .iter()
        .filter(|call| !permitted.contains(**call))
        .collect();
    println!("{} system calls were made", made.len());
    assert_eq!(refused, [&""; 0], "the unit refuses what a node needs");
    let executable = trace
        .lines()
        .find(|line| line.contains("PROT_WRITE|PROT_EXEC"));
    assert_eq!(
        executable, None,
        "the unit refuses memory that is written and executed"
    );
}

/// The name of the call in a line such as `123 fsync(5) = 0`.
fn call_of(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(' ')?;
    let (name, _) = rest.trim_start().split_once('(')?;
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    (!name.is_empty() && is_name(name)).then_some(name)
}

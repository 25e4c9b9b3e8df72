//! What is in deploy/ starts nodes as it promises: each kind on the tool that it is for.
//!
//! A test whose tool is not there, or that lacks the rights, is skipped loudly.

mod commands;
mod image;
mod package;
mod pods;
mod service;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tenure_testkit::find_program;
use tokio::{process::Command, time::timeout};

/// Longest that a script may run: one makes a root directory from packages of the network.
const SCRIPT_MAX: Duration = Duration::from_secs(400);

/// The top of the checkout.
fn top() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    top.canonicalize().unwrap()
}

fn skip(reason: &str) {
    // Past the capture of a passing test: a skipped check must be seen.
    _ = std::io::stderr().write_all(format!("SKIPPED: {reason}\n").as_bytes());
}

/// Whether every program is there and this process may mount; says what is missing.
fn may_isolate(programs: &[&str]) -> bool {
    if let Some(missing) = programs.iter().find(|name| find_program(name).is_none()) {
        skip(&format!("{missing} is not installed"));
        return false;
    }
    let tried = std::process::Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "true"])
        .stderr(Stdio::null())
        .status();
    let may = tried.is_ok_and(|status| status.success());
    if !may {
        skip("no right to namespaces of its own; run this as root");
    }
    may
}

/// Runs a script of this folder and returns what it printed, after an error as well.
async fn run(script: &Path, variables: &[(&str, String)]) -> (bool, String) {
    let mut command = Command::new("bash");
    command
        .arg(script)
        .current_dir(top())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for (name, _) in std::env::vars() {
        // A node refuses variables that it does not know.
        if name.starts_with("TENURE") || name.starts_with("ETCD") {
            command.env_remove(name);
        }
    }
    let variables = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    let ran = timeout(SCRIPT_MAX, command.envs(variables).output()).await;
    let ran = ran.expect("the script ends").unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    (
        ran.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// The path of a script beside these tests.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/deploy")
        .join(name)
}

//! What the page about TLS tells people to run does what it says.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tenure_testkit::{STATE_MAX, free_port, tenured, wait_until};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

const PAGE: &str = include_str!("../../../../../docs/operations/tls.md");

/// The shell block below a heading.
fn block(heading: &str) -> &'static str {
    let (_, below) = PAGE.split_once(heading).expect("the heading is there");
    let (_, block) = below.split_once("```sh\n").expect("a block follows");
    block.split_once("```").expect("the block ends").0
}

/// Runs the blocks in a directory of its own, with the programs of this build and free ports.
struct Reader {
    directory: tempfile::TempDir,
    ports: [u16; 2],
    path: String,
    /// What was exported so far.
    exported: String,
}

impl Reader {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let deploy = root.canonicalize().unwrap().join("deploy");
        std::os::unix::fs::symlink(deploy, directory.path().join("deploy")).unwrap();
        let programs: PathBuf = tenured().parent().unwrap().to_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        Self {
            directory,
            ports: [free_port(), free_port()],
            path: format!("{}:{path}", programs.display()),
            exported: String::new(),
        }
    }

    fn shell(&self, block: &str) -> Command {
        let [client, peer] = self.ports.map(|port| port.to_string());
        let script = format!("set -e\n{}\n{block}", self.exported);
        let script = script.replace("2379", &client).replace("2380", &peer);
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .env("PATH", &self.path)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn try_run(&self, block: &str) -> (bool, String) {
        let ran = timeout(STATE_MAX, self.shell(block).output())
            .await
            .unwrap()
            .unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        (
            ran.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    async fn run(&mut self, block: &str) -> String {
        let (succeeded, said) = self.try_run(block).await;
        assert!(succeeded, "{block}\n{said}");
        for line in block.lines().filter(|line| line.starts_with("export ")) {
            self.exported.push_str(line);
            self.exported.push('\n');
        }
        said
    }

    /// Starts a node in the shell's own process, and waits until it serves.
    async fn start(&self, block: &str) -> Child {
        let mut command = self.shell(&block.replacen("tenured", "exec tenured", 1));
        let node = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let health = "curl --silent --fail --cacert certs/ca.pem --cert certs/node.pem \
                      --key certs/node-key.pem https://127.0.0.1:2379/readyz";
        wait_until("the node is ready", STATE_MAX, async || {
            let (is_ready, said) = self.try_run(health).await;
            if is_ready { Ok(()) } else { Err(said) }
        })
        .await;
        node
    }
}

#[tokio::test]
async fn every_command_of_the_page_about_tls_does_what_it_says() {
    for program in ["openssl", "curl"] {
        if tenure_testkit::find_program(program).is_none() {
            eprintln!("SKIPPED: {program} is not installed");
            return;
        }
    }
    let mut reader = Reader::new();
    reader.run(block("## Certificates to try it with")).await;
    let start = block("## A node");
    let mut node = reader.start(start).await;
    let said = reader.run(block("## Clients")).await;
    assert!(said.contains("OK") && said.contains("is healthy"), "{said}");
    let said = reader.run(block("## Replace certificates")).await;
    assert!(said.contains(r#"of="certificate",port="client""#), "{said}");
    reader.run(block("## Revoke a certificate")).await;
    reader.run(block("**A secret.**")).await;

    node.kill().await.unwrap();
    let flags = "--client-crl-file certs/revoked.crl --cluster-secret-file certs/cluster-secret";
    let again = format!("{} {flags}\n", start.trim_end());
    let mut node = reader.start(&again).await;
    let (succeeded, said) = reader.try_run("tenurectl get greeting").await;
    assert!(!succeeded && said.contains("it was revoked"), "{said}");
    node.kill().await.unwrap();
}

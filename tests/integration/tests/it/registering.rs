//! `tenurectl register` as a service manager runs it: it comes back from every loss, and ends when
//! it was replaced or an operator took the instance out.

use rustix::process::{Pid, Signal, kill_process};
use tenure::Client;
use tenure_testkit::{Cluster, STATE_MAX, Tool, tenurectl, wait_until};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};

/// Time to live of the registration, in seconds: as short as leases may be.
const TTL: &str = "2s";
const KEY: &str = "tenure.services/web/web-1";

struct Registering {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Registering {
    fn start(tool: &Tool) -> Self {
        let arguments = [
            "-w",
            "json",
            "register",
            "web",
            "web-1",
            "--endpoint",
            "http://10.0.0.9:80",
            "--ttl",
            TTL,
        ];
        let mut child = tool.command(&arguments).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The incarnation that it says next.
    async fn incarnation(&mut self) -> i64 {
        let line = timeout(STATE_MAX, self.lines.next_line()).await;
        let line = line.expect("it says what it registered").unwrap();
        let line = line.expect("it still runs");
        let said = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        number(&said, "incarnation").unwrap_or_else(|| panic!("{line}"))
    }

    /// What it said when it ended.
    async fn ended(mut self) -> (Option<i32>, String) {
        let status = timeout(STATE_MAX, self.child.wait()).await;
        let status = status.expect("it ends").unwrap();
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).await.unwrap();
        (status.code(), said)
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32));
        kill_process(pid.unwrap(), signal).unwrap();
    }
}

/// A number anywhere in a document.
fn number(value: &serde_json::Value, name: &str) -> Option<i64> {
    match value {
        serde_json::Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let own = (key == name).then(|| value.as_i64()).flatten();
            own.or_else(|| number(value, name))
        }),
        serde_json::Value::Array(items) => items.iter().find_map(|item| number(item, name)),
        _ => None,
    }
}

#[tokio::test]
async fn a_registration_comes_back_from_every_loss() {
    let cluster = Cluster::start(3).await;
    let client = Client::connect(cluster.addresses()).await.unwrap();
    let tool = Tool::new(tenurectl()).with(&["--endpoints", &cluster.addresses().join(",")]);
    let mut it = Registering::start(&tool);
    let first = it.incarnation().await;
    client.delete(KEY).await.unwrap();
    let after_deletion = it.incarnation().await;
    assert!(after_deletion > first);

    let lease = client.get(KEY).await.unwrap().first().unwrap().lease();
    client.leases().revoke(lease.unwrap()).await.unwrap();
    let after_revocation = it.incarnation().await;
    assert!(after_revocation > after_deletion);

    it.signal(Signal::STOP);
    wait_until("its lease ends", STATE_MAX, async || {
        let left = client.get(KEY).await.unwrap().count();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    it.signal(Signal::CONT);
    assert!(it.incarnation().await > after_revocation);

    it.signal(Signal::TERM);
    let (code, said) = it.ended().await;
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(
        client.get(KEY).await.unwrap().kvs().is_empty(),
        "it is gone at once"
    );
}

#[tokio::test]
async fn a_registration_ends_with_its_true_reason() {
    let cluster = Cluster::start(1).await;
    let tool = Tool::new(tenurectl()).with(&["--endpoints", &cluster.addresses()[0]]);
    let mut it = Registering::start(&tool);
    it.incarnation().await;
    let removed = tool.run(&["deregister", "web", "web-1"]).await;
    assert_eq!(removed.code, Some(0), "{}", removed.err);
    let (code, said) = it.ended().await;
    assert_eq!(code, Some(1));
    assert!(
        said.contains("drained or deregistered by an operator"),
        "{said}"
    );

    let mut replaced = Registering::start(&tool);
    replaced.incarnation().await;
    let mut successor = Registering::start(&tool);
    let incarnation = successor.incarnation().await;
    let (code, said) = replaced.ended().await;
    assert_eq!(code, Some(1));
    assert!(
        said.contains(&format!("replaced by its incarnation {incarnation}")),
        "{said}"
    );
    successor.signal(Signal::TERM);
    assert_eq!(successor.ended().await.0, Some(0));
}

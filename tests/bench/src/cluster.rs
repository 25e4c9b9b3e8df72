//! Three nodes of either system on this machine, as children of this process.
//!
//! # Invariants
//! A node does not outlive the [`Cluster`] that started it. Both systems are started with the same
//! flags, sync every write, and keep their data below one directory.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tenure_proto::etcdserverpb::{StatusRequest, maintenance_client::MaintenanceClient};

use crate::{connections::Connections, process};

/// Nodes of a cluster.
const NODES: usize = 3;
/// How long three new nodes may take to serve under one leader.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two looks at whether they do.
const START_POLL: Duration = Duration::from_millis(100);
/// Quota of the data, for both: a long run must end by its clock and not at a quota.
const QUOTA_BYTES: &str = "68719476736";
/// Bytes of a node's log that are shown when it fails.
const LOG_SHOWN_BYTES: usize = 2000;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum System {
    Tenure,
    /// Another build of tenure.
    Before,
    Etcd,
}

impl System {
    /// Whether it offers tenure's own services.
    pub(crate) fn is_tenure(self) -> bool {
        self != Self::Etcd
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tenure => "tenure",
            Self::Before => "before",
            Self::Etcd => "etcd",
        })
    }
}

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) system: System,
    nodes: Vec<Node>,
    urls: Vec<String>,
    connections: Connections,
}

#[derive(Debug)]
struct Node {
    child: Child,
    log: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only when the child is gone already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Cluster {
    /// Starts the nodes and waits until all of them know one leader.
    pub(crate) async fn start(
        system: System,
        program: &Path,
        directory: &Path,
        connections: usize,
    ) -> Result<Self> {
        Self::start_within(system, program, directory, connections, &[]).await
    }

    /// As [`Cluster::start`], with each node started by the program and arguments of `wrapper`.
    pub(crate) async fn start_within(
        system: System,
        program: &Path,
        directory: &Path,
        connections: usize,
        wrapper: &[String],
    ) -> Result<Self> {
        let mut words: Vec<OsString> = wrapper.iter().map(OsString::from).collect();
        words.push(program.into());
        let ports = free_ports()?;
        let (clients, peers) = ports.split_at(NODES);
        let nodes = (0..NODES)
            .map(|number| start_node(system, &words, directory, number, clients, peers))
            .collect::<Result<Vec<_>>>()?;
        let mut cluster = Starting { nodes };
        let urls: Vec<_> = clients.iter().map(|port| url(*port)).collect();
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            cluster.check()?;
            if let Ok(connections) = Connections::open(&urls, connections).await
                && leader(&connections).await.is_ok()
            {
                return Ok(Self {
                    system,
                    nodes: cluster.nodes,
                    urls,
                    connections,
                });
            }
            if Instant::now() > deadline {
                let logs: Vec<_> = cluster.nodes.iter().map(Node::log_end).collect();
                bail!(
                    "{system} did not serve in time; its nodes said:\n{}",
                    logs.join("\n---\n")
                );
            }
            // A pause between two looks.
            tokio::time::sleep(START_POLL).await;
        }
    }

    pub(crate) const fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The number of the node that leads.
    pub(crate) async fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match leader(&self.connections).await {
                Ok(leader) => return Ok(leader),
                Err(error) if Instant::now() > deadline => return Err(error),
                // A pause between two looks.
                Err(_) => tokio::time::sleep(START_POLL).await,
            }
        }
    }

    /// CPU seconds of all nodes since they started.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        self.nodes
            .iter()
            .map(|node| node.usage(process::cpu_seconds))
            .sum()
    }

    /// Resident bytes of each node.
    pub(crate) fn resident_bytes(&self) -> Result<Vec<u64>> {
        self.nodes
            .iter()
            .map(|node| node.usage(process::resident_bytes))
            .collect()
    }

    /// Where clients reach the nodes.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.urls.clone()
    }

    /// How many nodes have ended.
    pub(crate) fn ended(&mut self) -> usize {
        let ended = |node: &mut Node| !matches!(node.child.try_wait(), Ok(None));
        self.nodes.iter_mut().map(ended).filter(|it| *it).count()
    }

    /// The process ids of the nodes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.child.id()).collect()
    }
}

/// Nodes that do not serve yet.
struct Starting {
    nodes: Vec<Node>,
}

impl Starting {
    fn check(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(status) = node.child.try_wait()? {
                bail!("a node ended with {status}; it said:\n{}", node.log_end());
            }
        }
        Ok(())
    }
}

impl Node {
    fn usage<T>(&self, of: fn(&str) -> Result<T>) -> Result<T> {
        of(&self.child.id().to_string())
            .with_context(|| format!("a node is gone; it said:\n{}", self.log_end()))
    }

    fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let end = &log[log.len().saturating_sub(LOG_SHOWN_BYTES)..];
        String::from_utf8_lossy(end).into_owned()
    }
}

fn start_node(
    system: System,
    words: &[OsString],
    directory: &Path,
    number: usize,
    clients: &[u16],
    peers: &[u16],
) -> Result<Node> {
    let name = format!("{system}-{number}");
    let members: Vec<_> = (0..NODES)
        .map(|member| format!("{system}-{member}={}", url(peers[member])))
        .collect();
    let log = directory.join(format!("{name}.log"));
    let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let flags = [
        ("--name", name.clone()),
        ("--data-dir", directory.join(&name).display().to_string()),
        ("--listen-client-urls", url(clients[number])),
        ("--advertise-client-urls", url(clients[number])),
        ("--listen-peer-urls", url(peers[number])),
        ("--initial-advertise-peer-urls", url(peers[number])),
        ("--initial-cluster", members.join(",")),
        ("--initial-cluster-state", "new".to_owned()),
        ("--initial-cluster-token", format!("bench-{}", peers[0])),
        ("--quota-backend-bytes", QUOTA_BYTES.to_owned()),
        ("--log-level", "warn".to_owned()),
    ];
    let (program, before) = words.split_first().context("no program to start")?;
    let child = Command::new(program)
        .args(before)
        .args(
            flags
                .into_iter()
                .flat_map(|(flag, value)| [flag.to_owned(), value]),
        )
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("starting {program:?}"))?;
    Ok(Node { child, log })
}

/// The number of the node that every node calls the leader.
async fn leader(connections: &Connections) -> Result<usize> {
    let (mut own, mut named) = (Vec::new(), Vec::new());
    for channel in connections.nodes() {
        let status = MaintenanceClient::new(channel)
            .status(StatusRequest {})
            .await?
            .into_inner();
        own.push(
            status
                .header
                .context("a status without a header")?
                .member_id,
        );
        named.push(status.leader);
    }
    if named.iter().any(|leader| *leader != named[0]) {
        bail!("the nodes do not agree on a leader");
    }
    own.iter()
        .position(|id| *id == named[0])
        .context("there is no leader")
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Two ports for each node that nobody listens on now; all are held until the last is found, so
/// that they differ.
fn free_ports() -> Result<Vec<u16>> {
    let held = (0..2 * NODES)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<std::io::Result<Vec<_>>>()
        .context("looking for free ports")?;
    held.iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

/// The first line that a server says about its version, if it is there to say one.
pub(crate) fn version(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output
        .status
        .success()
        .then(|| text.lines().next().unwrap_or("unknown").to_owned())
}

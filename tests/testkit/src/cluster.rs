//! A quorum of nodes on loopback, in a directory of its own.
//!
//! # Invariants
//! The nodes are gone when the [`Cluster`] is. The directory goes too, unless the test is failing:
//! then it stays and what the nodes said last is printed.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    binary::tenured,
    delays::Delays,
    link::Link,
    node::Node,
    ports::free_port,
    spawner::Launch,
    wait::{STATE_MAX, wait_until},
};

/// Starts with other ports before giving up: somebody else may take a port between the look at it
/// and the node's own use.
const START_ATTEMPTS: usize = 3;
/// What a node says when its port was taken.
const PORT_TAKEN: &str = "could not be listened on";

/// How a cluster is to be started.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    nodes: usize,
    flags: Vec<String>,
    node_flags: BTreeMap<usize, Vec<String>>,
    wrapper: Vec<String>,
    node_wrappers: BTreeMap<usize, Vec<String>>,
    directory: Option<PathBuf>,
    delayed: bool,
    program: Option<PathBuf>,
    linked: bool,
    peers_use_tls: bool,
    clients_use_tls: bool,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    delays: Option<Delays>,
    links: Vec<Link>,
    directory: Option<TempDir>,
}

impl ClusterBuilder {
    /// A flag of every node.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// A flag without a value, of every node.
    #[must_use]
    pub fn switch(mut self, name: &str) -> Self {
        self.flags.push(name.to_owned());
        self
    }

    /// A flag of one node.
    #[must_use]
    pub fn node_flag(mut self, node: usize, name: &str, value: &str) -> Self {
        let flags = self.node_flags.entry(node).or_default();
        flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// A program that sets something up and then becomes the node, such as `prlimit`.
    #[must_use]
    pub fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper
            .extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// The same for one node; it goes between those of all nodes and the node.
    #[must_use]
    pub fn node_wrapper(mut self, node: usize, words: &[&str]) -> Self {
        let wrapper = self.node_wrappers.entry(node).or_default();
        wrapper.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// Where the nodes keep their data; a temporary directory unless this is called.
    #[must_use]
    pub fn directory(mut self, path: PathBuf) -> Self {
        self.directory = Some(path);
        self
    }

    /// Puts a proxy before each node's peer port, by which its peers reach it.
    #[must_use]
    pub const fn delayed(mut self) -> Self {
        self.delayed = true;
        self
    }

    /// Another program that takes the same flags, such as etcd itself.
    #[must_use]
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    /// Lets the members reach each node through a [`Link`].
    #[must_use]
    pub const fn linked(mut self) -> Self {
        self.linked = true;
        self
    }

    /// Lets the members reach each other by https URLs; the flags of TLS are the caller's.
    #[must_use]
    pub const fn peers_use_tls(mut self) -> Self {
        self.peers_use_tls = true;
        self
    }

    /// Lets clients reach each node over TLS, too: at its address, which also serves plain text,
    /// and at [`Node::secure_address`], which does not. The flags of TLS are the caller's.
    #[must_use]
    pub const fn clients_use_tls(mut self) -> Self {
        self.clients_use_tls = true;
        self
    }

    /// Starts the nodes and waits until all are ready under one leader.
    ///
    /// # Panics
    /// When they do not become ready.
    pub async fn start(self) -> Cluster {
        for _ in 0..START_ATTEMPTS {
            let mut cluster = self.spawn();
            if cluster.collided().await {
                continue;
            }
            for node in &mut cluster.nodes {
                node.wait_ready().await;
            }
            cluster.leader().await;
            return cluster;
        }
        panic!("free ports were taken by others {START_ATTEMPTS} times in a row");
    }

    /// Starts the nodes and does not wait.
    ///
    /// # Panics
    /// When a process cannot be started.
    #[must_use]
    pub fn spawn(&self) -> Cluster {
        let directory = tempfile::Builder::new()
            .prefix("tenure-test-")
            .tempdir()
            .expect("the temporary directory can be written to");
        let ports: Vec<_> = (0..self.nodes)
            .map(|_| (free_port(), free_port()))
            .collect();
        let listening: Vec<u16> = ports.iter().map(|(_, peer)| *peer).collect();
        let delays = self.delayed.then(|| Delays::start(&listening));
        let links: Vec<_> = if self.linked {
            listening.iter().copied().map(Link::to).collect()
        } else {
            Vec::new()
        };
        let own = |(number, port): (usize, &u16)| {
            let port = links.get(number).map_or(*port, Link::port);
            format!("127.0.0.1:{port}")
        };
        let advertised: Vec<String> = match &delays {
            Some(delays) => delays.addresses().to_vec(),
            None => listening.iter().enumerate().map(own).collect(),
        };
        let nodes = (0..self.nodes)
            .map(|number| {
                let data = self.directory.as_deref();
                let data = data.unwrap_or_else(|| directory.path());
                let mut node = self.node(number, &ports, &advertised, data, directory.path());
                node.start();
                node
            })
            .collect();
        Cluster {
            nodes,
            delays,
            links,
            directory: Some(directory),
        }
    }

    fn node(
        &self,
        number: usize,
        ports: &[(u16, u16)],
        advertised: &[String],
        data: &Path,
        logs: &Path,
    ) -> Node {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let scheme = if self.peers_use_tls { "https" } else { "http" };
        let members: Vec<_> = advertised
            .iter()
            .enumerate()
            .map(|(number, address)| format!("m{number}={scheme}://{address}"))
            .collect();
        let name = format!("m{number}");
        let data_dir = data.join(&name);
        let (client, peer) = ports[number];
        let secure = self.clients_use_tls.then(free_port);
        let listening = secure.map_or_else(
            || url(client),
            |secure| {
                format!(
                    "{0},https://127.0.0.1:{client},https://127.0.0.1:{secure}",
                    url(client)
                )
            },
        );
        let flags = [
            ("--name", name.clone()),
            ("--data-dir", data_dir.display().to_string()),
            ("--listen-client-urls", listening),
            ("--advertise-client-urls", url(client)),
            ("--listen-peer-urls", format!("{scheme}://127.0.0.1:{peer}")),
            (
                "--initial-advertise-peer-urls",
                format!("{scheme}://{}", advertised[number]),
            ),
            ("--initial-cluster", members.join(",")),
            ("--initial-cluster-state", "new".to_owned()),
            ("--initial-cluster-token", format!("test-{}", ports[0].1)),
        ];
        let program = self.program.clone().unwrap_or_else(tenured);
        let own = self.node_flags.get(&number).into_iter().flatten();
        let wrapper = self.node_wrappers.get(&number).into_iter().flatten();
        let words = self
            .wrapper
            .iter()
            .chain(wrapper)
            .cloned()
            .chain([program.display().to_string()])
            .chain(
                flags
                    .into_iter()
                    .flat_map(|(flag, value)| [flag.to_owned(), value]),
            )
            .chain(self.flags.iter().cloned())
            .chain(own.cloned())
            .map(Into::into)
            .collect();
        let log = logs.join(format!("{name}.log"));
        let node = Node::new(
            name,
            format!("127.0.0.1:{client}"),
            Launch { words },
            data_dir,
            log,
        );
        node.secured(secure.map(|port| format!("127.0.0.1:{port}")))
    }
}

impl Cluster {
    /// Starts a cluster with default flags and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(nodes: usize) -> Self {
        Self::builder(nodes).start().await
    }

    /// A cluster of so many nodes, to be given flags.
    #[must_use]
    pub const fn builder(nodes: usize) -> ClusterBuilder {
        ClusterBuilder {
            nodes,
            flags: Vec::new(),
            node_flags: BTreeMap::new(),
            wrapper: Vec::new(),
            node_wrappers: BTreeMap::new(),
            directory: None,
            delayed: false,
            program: None,
            linked: false,
            peers_use_tls: false,
            clients_use_tls: false,
        }
    }

    /// Makes a node that joins `members` and lists them all, and does not start it. Returns its
    /// number.
    ///
    /// # Panics
    /// When there is no such member.
    pub fn joining(&mut self, members: &[usize]) -> usize {
        let number = self.newcomer();
        let listed: Vec<_> = members
            .iter()
            .chain([&number])
            .map(|&member| format!("m{member}={}", self.nodes[member].peer_url()))
            .collect();
        let node = &mut self.nodes[number];
        node.set_flag("--initial-cluster", Some(&listed.join(",")));
        node.set_flag("--initial-cluster-state", Some("existing"));
        number
    }

    /// Makes a node that asks `members` for the others, and does not start it. Returns its number.
    ///
    /// # Panics
    /// When there is no such member.
    pub fn joining_through(&mut self, members: &[usize]) -> usize {
        let number = self.newcomer();
        let peers: Vec<_> = members
            .iter()
            .map(|&member| self.nodes[member].peer_url())
            .collect();
        let node = &mut self.nodes[number];
        node.set_flag("--initial-cluster", None);
        node.set_flag("--join", Some(&peers.join(",")));
        number
    }

    fn newcomer(&mut self) -> usize {
        let number = self.nodes.len();
        let (client, peer) = (free_port(), free_port());
        let mut advertised = peer;
        // The nodes of a linked cluster are reached by links, and so are those that join.
        if !self.links.is_empty() {
            let link = Link::to(peer);
            advertised = link.port();
            self.links.push(link);
        }
        let directory = self
            .directory
            .as_ref()
            .expect("it lasts as long as the cluster");
        let flags = [
            ("--name", format!("m{number}")),
            ("--listen-client-urls", format!("http://127.0.0.1:{client}")),
            (
                "--advertise-client-urls",
                format!("http://127.0.0.1:{client}"),
            ),
            ("--listen-peer-urls", format!("http://127.0.0.1:{peer}")),
            (
                "--initial-advertise-peer-urls",
                format!("http://127.0.0.1:{advertised}"),
            ),
        ];
        let mut node = self.nodes[0].sibling(
            format!("m{number}"),
            format!("127.0.0.1:{client}"),
            directory.path(),
        );
        for (flag, value) in flags {
            node.set_flag(flag, Some(&value));
        }
        self.nodes.push(node);
        number
    }

    /// The proxies between the nodes.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub const fn delays(&self) -> &Delays {
        self.delays.as_ref().expect("the cluster was built delayed")
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node.
    #[must_use]
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// A node, to be stopped or started.
    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }

    /// The way by which the others reach a node, in a cluster that is linked.
    #[must_use]
    pub fn link(&self, number: usize) -> &Link {
        &self.links[number]
    }

    /// The client addresses of all nodes, `host:port`.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| node.address().to_owned())
            .collect()
    }

    /// The same, beginning with that of `node`: a client with these calls it first, and goes to
    /// the others when it must.
    #[must_use]
    pub fn addresses_from(&self, node: usize) -> Vec<String> {
        let mut addresses = self.addresses();
        addresses.rotate_left(node % self.nodes.len());
        addresses
    }

    /// The numbers of all nodes but one.
    #[must_use]
    pub fn others(&self, number: usize) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|other| *other != number)
            .collect()
    }

    /// The number of the node that all nodes call the leader, once they do.
    ///
    /// # Panics
    /// When they do not agree in time.
    pub async fn leader(&self) -> usize {
        let all: Vec<_> = (0..self.nodes.len()).collect();
        self.leader_among(&all).await
    }

    /// The number of the node that all of `nodes` call the leader, once they do and it is one of
    /// them.
    ///
    /// # Panics
    /// When they do not agree in time.
    pub async fn leader_among(&self, nodes: &[usize]) -> usize {
        wait_until("the nodes agree on a leader", STATE_MAX, async || {
            let mut own = Vec::new();
            let mut named = Vec::new();
            for &number in nodes {
                let calls = self.nodes[number].calls();
                let status = tokio::time::timeout(Duration::from_secs(2), calls.status()).await;
                let status = status.map_err(|_| format!("m{number} does not answer"))?;
                let status = status.map_err(|error| format!("m{number}: {error}"))?;
                own.push((status.header.unwrap_or_default().member_id, number));
                named.push(status.leader);
            }
            if named.iter().any(|leader| *leader != named[0]) {
                return Err(format!("they name {named:x?}"));
            }
            let leader = own.iter().find(|(id, _)| *id == named[0]);
            leader
                .map(|(_, number)| *number)
                .ok_or_else(|| format!("they name {:x}, who is none of them", named[0]))
        })
        .await
    }

    /// Whether a node ended because a port was taken; waits until each node serves pages or ends.
    async fn collided(&mut self) -> bool {
        for node in &mut self.nodes {
            let ended = wait_until("a new node serves pages", STATE_MAX, async || {
                if node.exited().is_some() {
                    return Ok(true);
                }
                let version = crate::page::page(node.address(), "/version").await;
                version.map(|_| false).map_err(|error| error.to_string())
            })
            .await;
            if ended && node.log().contains(PORT_TAKEN) {
                return true;
            }
        }
        false
    }

    fn report(&self) -> String {
        let nodes = self.nodes.iter().map(|node| {
            let command = node.command_line().join(" ");
            format!("\n--- {}: {command}\n{}\n", node.name(), node.log_end())
        });
        nodes.collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let report = thread::panicking().then(|| self.report());
        // Before the directory goes: they write to it.
        self.nodes.clear();
        let directory = self.directory.take();
        if let (Some(report), Some(directory)) = (report, directory) {
            let kept = directory.keep();
            let text = format!("{report}\nthe nodes' files are in {}\n", kept.display());
            _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

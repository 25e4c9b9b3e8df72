//! Connections to the nodes of one cluster, and which client uses which.

use anyhow::{Context, Result};
use tonic::transport::{Channel, Endpoint};

use crate::cell::Aim;

/// Flow-control window of a stream and of a connection. Wide enough that a stream full of events
/// waits for the server and not for credit from this program.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// As above, for all streams of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Open connections, the same number to each node.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    by_node: Vec<Vec<Channel>>,
}

impl Connections {
    /// Opens `count` connections to each of the addresses.
    pub(crate) async fn open(urls: &[String], count: usize) -> Result<Self> {
        let mut by_node = Vec::with_capacity(urls.len());
        for url in urls {
            let mut channels = Vec::with_capacity(count);
            for _ in 0..count {
                let endpoint = Endpoint::from_shared(url.clone())?
                    .tcp_nodelay(true)
                    .initial_stream_window_size(STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
                channels.push(
                    endpoint
                        .connect()
                        .await
                        .with_context(|| format!("joining {url}"))?,
                );
            }
            by_node.push(channels);
        }
        Ok(Self { by_node })
    }

    /// The first connection to each node.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = Channel> {
        self.by_node.iter().map(|channels| channels[0].clone())
    }

    /// The connection that a client uses.
    pub(crate) fn of_client(&self, client: usize, aim: Aim, leader: usize) -> Channel {
        let (node, turn) = place(client, aim, leader, self.by_node.len());
        let channels = &self.by_node[node];
        channels[turn % channels.len()].clone()
    }
}

/// The node of a client, and its number among the clients of that node.
const fn place(client: usize, aim: Aim, leader: usize, nodes: usize) -> (usize, usize) {
    match aim {
        Aim::Leader => (leader, client),
        Aim::AllNodes => (client % nodes, client / nodes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_spread_evenly_or_sent_to_the_leader() {
        let all: Vec<_> = (0..6)
            .map(|client| place(client, Aim::AllNodes, 2, 3))
            .collect();
        assert_eq!(all, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]);
        assert_eq!(place(5, Aim::Leader, 2, 3), (2, 5));
    }
}

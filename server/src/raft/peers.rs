//! Connections to the other members: one per member and lane, made on first use and then kept.
//!
//! Lanes are separate connections, so that a snapshot or a burst of appends delays no heartbeat,
//! and neither of them a forwarded renewal.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tenure_proto::{
    peer::peer_client::PeerClient,
    peer_metadata::{
        CLUSTER_KEY, SENDER_INSTANCE_KEY, SENDER_KEY, TARGET_INSTANCE_KEY, TARGET_KEY,
    },
};
use tenure_statemachine::MemberId;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use super::{counted::Counted, levels::Levels, roster::Roster};
use crate::{
    consensus::PeerNode,
    metrics::{NetworkMetrics, PeerMetrics},
    transport::Transport,
};

/// Largest message between peers, in bytes: an append of several of the largest requests.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Flow-control window of one stream, in bytes. Bounds the data in flight to a slow follower.
const STREAM_WINDOW: u32 = 2 << 20;

/// Interval of keep-alive probes on a connection, and the time limit for the answer. A peer whose
/// machine vanished is detected within their sum.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// As [`KEEP_ALIVE_TIMEOUT`], for the snapshot lane, where a probe waits behind the sockets'
/// buffers: a few megabytes, on a link of a tenth of one per second. Transfers monitor themselves.
const SNAPSHOT_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of a peer, on one lane.
pub type Client = PeerClient<InterceptedService<Channel, Credentials>>;

/// A client and the addresses that it was made for.
type Connection = (Vec<String>, Client);

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Replication, votes and leadership transfers.
    Append,
    /// Heartbeats, read rounds and introductions.
    Heartbeat,
    /// Snapshots.
    Snapshot,
    /// Forwarded writes, read index calls, streams that a leader opens, and state digests.
    Forward,
}

/// Connections to the other members.
#[derive(Debug)]
pub struct Peers {
    transport: Arc<dyn Transport>,
    roster: Arc<Roster>,
    clients: Mutex<BTreeMap<(MemberId, Lane), Connection>>,
    levels: Levels,
    /// Metrics of the traffic with the members; `None` in tests without metrics.
    network: Option<NetworkMetrics>,
}

impl Peers {
    /// Starts without connections.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, roster: Arc<Roster>) -> Self {
        Self {
            transport,
            roster,
            clients: Mutex::default(),
            levels: Levels::default(),
            network: None,
        }
    }

    /// Enables metrics of the traffic.
    #[must_use]
    pub fn measured(mut self, network: &NetworkMetrics) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// Metrics of the traffic with one member.
    pub(super) fn metrics(&self, target: MemberId) -> Option<PeerMetrics> {
        let network = self.network.as_ref()?;
        Some(network.peer(MemberId(self.roster.owner().member_id), target))
    }

    /// The feature levels that the other members support.
    #[must_use]
    pub const fn levels(&self) -> &Levels {
        &self.levels
    }

    /// The roster of the other members.
    #[must_use]
    pub const fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// Returns the client for `target` on `lane`, which connects on first use.
    pub fn client(&self, target: MemberId, node: &PeerNode, lane: Lane) -> Client {
        let mut clients = self.clients.lock();
        if let Some((urls, client)) = clients.get(&(target, lane))
            && *urls == node.peer_urls
        {
            return client.clone();
        }
        let client = self.connect(target, node.peer_urls.clone(), lane);
        clients.insert((target, lane), (node.peer_urls.clone(), client.clone()));
        client
    }

    /// Drops the connection to `target` on `lane`: the next client opens another.
    pub fn forget(&self, target: MemberId, lane: Lane) {
        self.clients.lock().remove(&(target, lane));
    }

    fn connect(&self, target: MemberId, urls: Vec<String>, lane: Lane) -> Client {
        let keep_alive_timeout = match lane {
            Lane::Snapshot => SNAPSHOT_KEEP_ALIVE_TIMEOUT,
            Lane::Append | Lane::Heartbeat | Lane::Forward => KEEP_ALIVE_TIMEOUT,
        };
        let transport = Arc::clone(&self.transport);
        let urls: Arc<[String]> = urls.into();
        let metrics = self.metrics(target);
        let connector = service_fn(move |_: Uri| {
            let (transport, urls) = (Arc::clone(&transport), Arc::clone(&urls));
            let metrics = metrics.clone();
            async move {
                let mut last = std::io::Error::other("the member has no peer URL");
                for url in urls.iter() {
                    match transport.connect(url.clone()).await {
                        Ok(connection) => {
                            return Ok(TokioIo::new(Counted::new(connection, metrics)));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        });
        // The connector resolves the address; this one only has to parse.
        let channel = Endpoint::from_static("http://peer.invalid")
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(keep_alive_timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW * 2)
            .connect_with_connector_lazy(connector);
        let owner = self.roster.owner();
        let credentials = Credentials {
            cluster: number(owner.cluster_id),
            from: number(owner.member_id),
            from_instance: number(owner.instance_id),
            to: number(target.0),
            target,
            roster: Arc::clone(&self.roster),
        };
        PeerClient::with_interceptor(channel, credentials)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// Adds the ids of the sender and the target to every call.
#[derive(Clone, Debug)]
pub struct Credentials {
    cluster: MetadataValue<Ascii>,
    from: MetadataValue<Ascii>,
    from_instance: MetadataValue<Ascii>,
    to: MetadataValue<Ascii>,
    target: MemberId,
    roster: Arc<Roster>,
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert(CLUSTER_KEY, self.cluster.clone());
        metadata.insert(SENDER_KEY, self.from.clone());
        metadata.insert(SENDER_INSTANCE_KEY, self.from_instance.clone());
        metadata.insert(TARGET_KEY, self.to.clone());
        if let Some(instance) = self.roster.instance_of(self.target) {
            metadata.insert(TARGET_INSTANCE_KEY, number(instance));
        }
        Ok(request)
    }
}

pub(super) fn number(value: u64) -> MetadataValue<Ascii> {
    format!("{value:016x}")
        .parse()
        .expect("hexadecimal digits are valid metadata")
}

/// Whether a peer reported that a snapshot does not match its header. Peers of earlier versions
/// reported only that it did not arrive.
pub(super) fn is_content_refused(status: &Status) -> bool {
    status.code() == tonic::Code::DataLoss
}

/// Whether a peer does not know the call, because its version predates it.
pub(crate) fn is_unknown_call(status: &Status) -> bool {
    status.code() == tonic::Code::Unimplemented
}

//! Bytes and round trips between members, and bytes to and from clients.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use tenure_statemachine::MemberId;

use super::registrar::{Registrar, doubling};

/// First bound and number of bounds of round trips: 0.1 ms to 3.3 s, as in etcd.
const ROUND_TRIP_BUCKETS: (f64, usize) = (0.0001, 16);

/// Peers counted separately by the id that they state: more than a quorum ever has.
const SENDERS_MAX: usize = 64;

/// Counters of a listener.
#[derive(Clone, Debug)]
pub(crate) struct AcceptMetrics {
    /// Connections refused because clients have reached their connection limit.
    pub(crate) refused: IntCounter,
    /// Failed accepts for lack of descriptors or memory.
    pub(crate) failed: IntCounter,
}

/// Network traffic of this member. Cloning it clones handles.
#[derive(Clone, Debug)]
pub struct NetworkMetrics {
    /// Bytes of messages sent to clients.
    pub client_grpc_sent_bytes: IntCounter,
    /// Bytes of messages received from clients.
    pub client_grpc_received_bytes: IntCounter,
    connections_refused: IntCounter,
    accepts_failed: IntCounter,
    peer_sent_bytes: IntCounterVec,
    peer_received_bytes: IntCounterVec,
    peer_sent_failures: IntCounterVec,
    peer_round_trip_time: HistogramVec,
    known_peers: IntGaugeVec,
    active_peers: IntGaugeVec,
    /// The peers that have called this member.
    senders: Arc<Mutex<BTreeSet<MemberId>>>,
    peer_refused: IntCounterVec,
}

/// Traffic with one other member; made once per peer and kept.
#[derive(Debug, Clone)]
pub struct PeerMetrics {
    /// Bytes sent to the peer.
    pub sent_bytes: IntCounter,
    /// Bytes received from the peer.
    pub received_bytes: IntCounter,
    /// Messages that could not be sent to the peer.
    pub sent_failures: IntCounter,
    /// Seconds until the peer answered a heartbeat.
    pub round_trip_time: Histogram,
    /// Open connections to the peer.
    pub active: IntGauge,
}

impl NetworkMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        let (start, count) = ROUND_TRIP_BUCKETS;
        Self {
            senders: Arc::default(),
            client_grpc_sent_bytes: registrar.counter(
                "etcd_network_client_grpc_sent_bytes_total",
                "Bytes of messages sent to clients.",
            ),
            client_grpc_received_bytes: registrar.counter(
                "etcd_network_client_grpc_received_bytes_total",
                "Bytes of messages received from clients.",
            ),
            connections_refused: registrar.counter(
                "tenure_network_connections_refused_total",
                "Connections turned away because clients had all they may have.",
            ),
            accepts_failed: registrar.counter(
                "tenure_network_accepts_failed_total",
                "Attempts to accept a connection that failed for want of descriptors or memory.",
            ),
            peer_sent_bytes: registrar.counters(
                "etcd_network_peer_sent_bytes_total",
                &["To"],
                "Bytes sent to a peer.",
            ),
            peer_received_bytes: registrar.counters(
                "etcd_network_peer_received_bytes_total",
                &["From"],
                "Bytes received from a peer.",
            ),
            peer_sent_failures: registrar.counters(
                "etcd_network_peer_sent_failures_total",
                &["To"],
                "Messages that could not be sent to a peer.",
            ),
            peer_round_trip_time: registrar.histograms(
                "etcd_network_peer_round_trip_time_seconds",
                &["To"],
                doubling(start, count),
                "Seconds until a peer answered a heartbeat.",
            ),
            known_peers: registrar.gauges(
                "etcd_network_known_peers",
                &["Local", "Remote"],
                "1 for each peer of the quorum.",
            ),
            active_peers: registrar.gauges(
                "etcd_network_active_peers",
                &["Local", "Remote"],
                "Connections to each peer that are open.",
            ),
            peer_refused: registrar.counters(
                "tenure_peer_refused_total",
                &["reason"],
                "Calls and messages on the peer port that no member of this cluster sends.",
            ),
        }
    }

    /// Counts a refused call or message on the peer port. Rare, so it may look up the counter.
    pub fn peer_refused(&self, reason: &str) {
        self.peer_refused.with_label_values(&[reason]).inc();
    }

    /// Returns the counters of the listeners.
    pub(crate) fn accepting(&self) -> AcceptMetrics {
        AcceptMetrics {
            refused: self.connections_refused.clone(),
            failed: self.accepts_failed.clone(),
        }
    }

    /// Returns the counters of bytes received from a peer and sent to it; `None` beyond
    /// `SENDERS_MAX` peers.
    #[must_use]
    pub fn answering(&self, id: MemberId) -> Option<[IntCounter; 2]> {
        let mut senders = self.senders.lock();
        if !senders.contains(&id) && senders.len() >= SENDERS_MAX {
            return None;
        }
        senders.insert(id);
        let label = [id.to_string()];
        Some([
            self.peer_received_bytes.with_label_values(&label),
            self.peer_sent_bytes.with_label_values(&label),
        ])
    }

    /// Returns the handles of `own` for one peer, and marks the peer as known.
    #[must_use]
    pub fn peer(&self, own: MemberId, id: MemberId) -> PeerMetrics {
        let pair = [own.to_string(), id.to_string()];
        self.known_peers.with_label_values(&pair).set(1);
        let label = [id.to_string()];
        PeerMetrics {
            sent_bytes: self.peer_sent_bytes.with_label_values(&label),
            received_bytes: self.peer_received_bytes.with_label_values(&label),
            sent_failures: self.peer_sent_failures.with_label_values(&label),
            round_trip_time: self.peer_round_trip_time.with_label_values(&label),
            active: self.active_peers.with_label_values(&pair),
        }
    }
}

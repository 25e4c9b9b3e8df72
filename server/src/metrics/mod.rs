//! Metrics of the server, each with a typed handle, under etcd's names.
//!
//! Uses the crate `prometheus`: a counter is one atomic addition behind a handle, and its text
//! format prints names exactly as given, where OpenMetrics would append a second `_total`.
//!
//! Invariant: no update performs a lookup. Handles with labels are made once and kept.

mod alarm;
mod apply;
mod auth;
mod body;
mod frame;
mod grpc;
mod health;
mod layer;
mod lock;
mod method;
mod process;
mod proposal;
#[cfg(test)]
mod reference;
mod registrar;
mod requests;
mod scrape;
mod server;
mod slow_call;
mod store;
mod tls;
mod transport;

use std::{sync::Arc, time::Duration};

use prometheus::{Encoder as _, Registry, TextEncoder};

pub use prometheus::{Histogram, IntCounter, IntGauge};

pub(crate) use self::method::{paths_of_short_calls, paths_of_whole_requests};
pub use self::registrar::Described;
pub(crate) use self::transport::AcceptMetrics;
pub use self::{
    alarm::AlarmMetrics,
    apply::ApplyMetrics,
    auth::AuthMetrics,
    body::CountingBody,
    grpc::GrpcMetrics,
    health::HealthMetrics,
    layer::{GrpcLayer, GrpcService},
    lock::LockMetrics,
    proposal::ProposalMetrics,
    server::ServerMetrics,
    store::{DiskMetrics, LeaseMetrics, MvccMetrics},
    tls::TlsMetrics,
    transport::{NetworkMetrics, PeerMetrics},
};
use self::{process::ProcessMetrics, registrar::Registrar, scrape::Scrape};
use crate::config::MetricsLevel;

/// Content type of the text that [`Metrics::render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns descriptions of all metrics, for the documentation.
#[must_use]
pub fn described() -> Vec<Described> {
    let mut registrar = Registrar::default();
    Metrics::with_registrar(&mut registrar, MetricsLevel::Extensive);
    registrar.into_described()
}

/// Every metric of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    process: ProcessMetrics,
    scrape: Scrape,
    /// Durations of applying commands.
    pub apply: ApplyMetrics,
    /// Role, identity and slow operations.
    pub server: ServerMetrics,
    /// Alarms, the disk's space, and feature gates.
    pub alarm: AlarmMetrics,
    /// Progress of proposals.
    pub proposals: ProposalMetrics,
    /// Results of the health pages.
    pub health: HealthMetrics,
    /// Durations of durable writes.
    pub disk: DiskMetrics,
    /// The key space and its watchers.
    pub mvcc: MvccMetrics,
    /// Leases granted, renewed and ended.
    pub lease: LeaseMetrics,
    /// Waiters, wakeups and grants of locks and elections.
    pub lock: LockMetrics,
    /// Log-ins and the audit log.
    pub auth: AuthMetrics,
    /// Bytes and round trips between members, and to clients.
    pub network: NetworkMetrics,
    /// Certificates, and handshakes that failed.
    pub tls: TlsMetrics,
    /// Calls of clients by method and outcome.
    pub grpc: Arc<GrpcMetrics>,
}

impl Metrics {
    /// Creates every metric at zero.
    #[must_use]
    pub fn new(level: MetricsLevel) -> Arc<Self> {
        Arc::new(Self::with_registrar(&mut Registrar::default(), level))
    }

    fn with_registrar(registrar: &mut Registrar, level: MetricsLevel) -> Self {
        let network = NetworkMetrics::new(registrar);
        Self {
            process: ProcessMetrics::new(registrar),
            scrape: Scrape::default(),
            apply: ApplyMetrics::new(registrar),
            server: ServerMetrics::new(registrar),
            alarm: AlarmMetrics::new(registrar),
            proposals: ProposalMetrics::new(registrar),
            health: HealthMetrics::new(registrar),
            disk: DiskMetrics::new(registrar),
            mvcc: MvccMetrics::new(registrar),
            lease: LeaseMetrics::new(registrar),
            lock: LockMetrics::new(registrar),
            auth: AuthMetrics::new(registrar),
            grpc: Arc::new(GrpcMetrics::new(registrar, &network, level)),
            network,
            tls: TlsMetrics::new(registrar),
            registry: registrar.registry(),
        }
    }

    /// Sets `refresh` to run before each scrape, so that gauges are current when they are read.
    /// Only the first call has an effect.
    pub fn before_scrapes(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.scrape.set(refresh);
    }

    /// Returns all metrics as text, for a scrape.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        self.process.refresh();
        self.scrape.run();
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("invariant: a registered family is well-formed, and memory takes every write");
        text
    }

    /// Returns the layer that counts calls, and warns of unary ones without an answer for longer
    /// than `expected`; see [`GrpcLayer`].
    #[must_use]
    pub fn grpc_layer(&self, expected: Duration) -> GrpcLayer {
        GrpcLayer::new(Arc::clone(&self.grpc), expected)
    }
}

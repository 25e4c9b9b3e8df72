//! Counters of client calls, by method and outcome.
//!
//! Every method and outcome has a counter at zero from the start, so that a rate can be computed
//! from the first call on. Calls to unknown methods share one set: clients must not be able to grow
//! the table.

use std::{collections::HashMap, sync::Arc};

use http::HeaderValue;
use prometheus::{DEFAULT_BUCKETS, Histogram, IntCounter};
use tokio::time::Instant;

use super::{
    NetworkMetrics,
    frame::Counted,
    method::{self, Method},
    registrar::Registrar,
    requests::{RequestMetrics, RequestTimer},
};
use crate::config::MetricsLevel;

/// Names of the outcomes, indexed by gRPC status code.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Outcome of a call whose client disconnected before the call had one.
const CANCELED: usize = 1;

/// Outcome of a call whose status cannot be parsed.
const UNKNOWN: usize = 2;

const METHOD_LABELS: &[&str] = &["grpc_service", "grpc_method", "grpc_type"];
const HANDLED_LABELS: &[&str] = &["grpc_service", "grpc_method", "grpc_type", "grpc_code"];

/// The counters of every method.
#[derive(Debug)]
pub struct GrpcMetrics {
    methods: HashMap<String, Arc<MethodMetrics>>,
    unknown: Arc<MethodMetrics>,
    requests: RequestMetrics,
}

/// The counters of one method.
#[derive(Debug)]
pub(super) struct MethodMetrics {
    path: String,
    answered_soon: bool,
    is_unary: bool,
    timer: Option<RequestTimer>,
    started: IntCounter,
    handled: [IntCounter; CODES.len()],
    messages_received: IntCounter,
    messages_sent: IntCounter,
    bytes_received: IntCounter,
    bytes_sent: IntCounter,
    handling: Option<Histogram>,
}

/// Unary methods that are answered only once the claim is granted, which may take any time.
const WAITING: [&str; 2] = ["/v3lockpb.Lock/Lock", "/v3electionpb.Election/Campaign"];

impl GrpcMetrics {
    pub(super) fn new(
        registrar: &mut Registrar,
        network: &NetworkMetrics,
        level: MetricsLevel,
    ) -> Self {
        let started =
            registrar.counters("grpc_server_started_total", METHOD_LABELS, "Calls begun.");
        let handled = registrar.counters(
            "grpc_server_handled_total",
            HANDLED_LABELS,
            "Calls ended, by outcome.",
        );
        let received = registrar.counters(
            "grpc_server_msg_received_total",
            METHOD_LABELS,
            "Messages received.",
        );
        let sent = registrar.counters(
            "grpc_server_msg_sent_total",
            METHOD_LABELS,
            "Messages sent.",
        );
        let handling = (level == MetricsLevel::Extensive).then(|| {
            registrar.histograms(
                "grpc_server_handling_seconds",
                METHOD_LABELS,
                DEFAULT_BUCKETS.to_vec(),
                "Seconds from the beginning of a call to its end; only with --metrics extensive.",
            )
        });
        let requests = RequestMetrics::new(registrar);
        let of = |method: &Method| {
            let labels = [method.service.as_str(), method.name.as_str(), method.kind];
            let [service, name, kind] = labels;
            Arc::new(MethodMetrics {
                path: method.path(),
                answered_soon: kind == "unary" && !WAITING.contains(&method.path().as_str()),
                is_unary: kind == "unary",
                timer: requests.timer(&method.path()),
                started: started.with_label_values(&labels),
                handled: CODES.map(|code| handled.with_label_values(&[service, name, kind, code])),
                messages_received: received.with_label_values(&labels),
                messages_sent: sent.with_label_values(&labels),
                bytes_received: network.client_grpc_received_bytes.clone(),
                bytes_sent: network.client_grpc_sent_bytes.clone(),
                handling: handling.as_ref().map(|it| it.with_label_values(&labels)),
            })
        };
        let unknown = Method {
            service: "unknown".to_owned(),
            name: "unknown".to_owned(),
            kind: "unary",
        };
        let methods = method::served();
        Self {
            methods: methods
                .iter()
                .map(|method| (method.path(), of(method)))
                .collect(),
            unknown: of(&unknown),
            requests,
        }
    }

    /// Begins a call to the method at `path`; `version` is the API version that the client states.
    pub(super) fn begin(&self, path: &str, version: Option<&HeaderValue>) -> Call {
        let method = Arc::clone(self.methods.get(path).unwrap_or(&self.unknown));
        method.started.inc();
        self.requests.began(method.is_unary, version);
        let is_timed = method.handling.is_some() || method.timer.is_some();
        let began = is_timed.then(Instant::now);
        Call {
            method,
            began,
            outcome: CANCELED,
        }
    }
}

impl MethodMetrics {
    /// Returns the path of the method's calls.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether its calls are unary and do not wait, so that a slow answer is unusual.
    pub(super) const fn is_answered_soon(&self) -> bool {
        self.answered_soon
    }

    pub(super) fn received(&self, counted: Counted) {
        self.messages_received.inc_by(counted.messages);
        self.bytes_received.inc_by(counted.bytes);
    }

    pub(super) fn sent(&self, counted: Counted) {
        self.messages_sent.inc_by(counted.messages);
        self.bytes_sent.inc_by(counted.bytes);
    }
}

/// A call in progress. Counted as ended on drop, as cancelled if no outcome is known.
#[derive(Debug)]
pub(super) struct Call {
    method: Arc<MethodMetrics>,
    began: Option<Instant>,
    outcome: usize,
}

impl Call {
    pub(super) fn method(&self) -> &Arc<MethodMetrics> {
        &self.method
    }

    /// Records the outcome from the value of the `grpc-status` header.
    pub(super) fn ended(&mut self, status: &[u8]) {
        let number = std::str::from_utf8(status)
            .ok()
            .and_then(|text| text.parse::<usize>().ok());
        self.outcome = number
            .filter(|number| *number < CODES.len())
            .unwrap_or(UNKNOWN);
    }

    /// Observes the time until the response began.
    pub(super) fn answered(&self) {
        if let (Some(timer), Some(began)) = (&self.method.timer, self.began) {
            // Without an outcome yet, the response begins with a message: a success.
            timer.observe(
                began.elapsed(),
                self.outcome == CANCELED || self.outcome == 0,
            );
        }
    }

    /// Records that the call ended by an error below gRPC.
    pub(super) fn failed(&mut self) {
        self.outcome = UNKNOWN;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.method.handled[self.outcome].inc();
        if let (Some(histogram), Some(began)) = (&self.method.handling, self.began) {
            histogram.observe(began.elapsed().as_secs_f64());
        }
    }
}

//! Settings of logs, metrics, tracing and checks.

use std::time::Duration;

use super::{Class, Class::*, Flag, Group, Kind::*, Setting, millis, mins};
use crate::config::url::Url;

/// The class of the settings of tracing, which have no effect.
const TRACING: Class = Ignored("distributed tracing is not built yet");

rows! { OPERATION: Operation;
    LOG_LEVEL: &str = "log-level", Choice(&["debug", "info", "warn", "error", "panic", "fatal"]),
        "info", Used,
        "Lowest level that is logged. panic and fatal mean error.";
    LOG_FORMAT: &str = "log-format", Choice(&["json", "console"]), "json", Used,
        "Form of a log line.";
    LOG_OUTPUTS: &str = "log-outputs", List, "default", Used,
        "Where log lines go: stderr, stdout or both. default means stderr.";
    _: &str = "logger", Choice(&["zap"]), "zap", Ignored("there is one logger"),
        "Name of etcd's logger.";
    _: bool = "enable-log-rotation", Bool, false, Refused("log files"),
        "Whether to rotate a log file.";
    _: &str = "log-rotation-config-json", Text, "", Ignored("log files are not built yet"),
        "How to rotate a log file.";
    METRICS: &str = "metrics", Choice(&["basic", "extensive"]), "basic", Used,
        "How much is measured. extensive adds a histogram of the duration of every call.";
    LISTEN_METRICS_URLS: &[Url] = "listen-metrics-urls", Urls, &[], Used,
        "Further addresses to serve the HTTP pages on, for monitoring apart from clients.";
    WARNING_APPLY_DURATION: Duration = "warning-apply-duration", Duration, millis(100), Used,
        "Duration of applying a batch of entries after which a warning is logged.";
    WARNING_UNARY_REQUEST_DURATION: Duration = "warning-unary-request-duration", Duration,
        millis(300), Used,
        "Duration of a unary call after which a warning is logged.";
    _: bool = "enable-pprof", Bool, false, Refused("profiling over HTTP"),
        "Whether to serve profiles over HTTP.";
    _: bool = "enable-distributed-tracing", Bool, false, Refused("distributed tracing"),
        "Whether to send traces to a collector.";
    _: &str = "distributed-tracing-address", Text, "localhost:4317", TRACING,
        "Address of the collector.";
    _: &str = "distributed-tracing-service-name", Text, "etcd", TRACING,
        "Name of the service in traces.";
    _: &str = "distributed-tracing-instance-id", Text, "", TRACING,
        "Name of this member in traces.";
    _: i64 = "distributed-tracing-sampling-rate", Int, 0, TRACING,
        "Traces to keep out of a million.";
    CORRUPT_CHECK_TIME: Duration = "corrupt-check-time", Duration, mins(10), Used,
        "Time between two comparisons of the members' data, which the leader makes. 0 means never.";
    COMPACT_HASH_CHECK_TIME: Duration = "compact-hash-check-time", Duration, mins(1), Used,
        "Time between two comparisons of the members' compaction hashes, when the feature gate \
         CompactHashCheck is on.";
    _: bool = "unsafe-no-fsync", Bool, false, Refused("running without durable writes"),
        "Whether to acknowledge writes before they are durable.";
}

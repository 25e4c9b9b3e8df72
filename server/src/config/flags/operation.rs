//! Settings of logs, metrics, tracing and checks.

use super::{Class, Class::*, Flag, Group, Kind::*};

/// Why the details of tracing change nothing while it is off.
const TRACING: Class = Ignored("distributed tracing is not built yet");

pub(super) const FLAGS: &[Flag] = rows! { Operation;
    "log-level", Choice(&["debug", "info", "warn", "error", "panic", "fatal"]), "info", Used,
        "Lowest level that is logged. panic and fatal mean error.";
    "log-format", Choice(&["json", "console"]), "json", Used,
        "Form of a log line.";
    "log-outputs", List, "default", Used,
        "Where log lines go: stderr, stdout or both. default means stderr.";
    "logger", Choice(&["zap"]), "zap", Ignored("there is one logger"),
        "Name of etcd's logger.";
    "enable-log-rotation", Bool, "false", Refused("log files"),
        "Whether to rotate a log file.";
    "log-rotation-config-json", Text, "", Ignored("log files are not built yet"),
        "How to rotate a log file.";
    "metrics", Choice(&["basic", "extensive"]), "basic", Used,
        "How much is measured. extensive adds a histogram of the duration of every call.";
    "listen-metrics-urls", Urls, "", Used,
        "Further addresses to serve the HTTP pages on, for monitoring apart from clients.";
    "warning-apply-duration", Duration, "100ms", Used,
        "Duration of applying a batch of entries after which a warning is logged.";
    "warning-unary-request-duration", Duration, "300ms", Used,
        "Duration of a unary call after which a warning is logged.";
    "enable-pprof", Bool, "false", Refused("profiling over HTTP"),
        "Whether to serve profiles over HTTP.";
    "enable-distributed-tracing", Bool, "false", Refused("distributed tracing"),
        "Whether to send traces to a collector.";
    "distributed-tracing-address", Text, "localhost:4317", TRACING,
        "Address of the collector.";
    "distributed-tracing-service-name", Text, "etcd", TRACING,
        "Name of the service in traces.";
    "distributed-tracing-instance-id", Text, "", TRACING,
        "Name of this member in traces.";
    "distributed-tracing-sampling-rate", Int, "0", TRACING,
        "Traces to keep out of a million.";
    "corrupt-check-time", Duration, "10m", Used,
        "Time between two comparisons of the members' data, which the leader makes. 0 means never.";
    "compact-hash-check-time", Duration, "1m",
        Ignored("comparing compaction hashes is not built yet"),
        "Time between two comparisons of the members' compaction hashes.";
    "unsafe-no-fsync", Bool, "false", Refused("running without durable writes"),
        "Whether to acknowledge writes before they are durable.";
};

//! Settings of the process: its name, directory, listeners and limits.

use std::time::Duration;

use super::{Class::*, Flag, Group, Kind::*, Setting, mins, secs};
use crate::config::url::Url;

/// Default addresses for peers; etcd's.
const PEER_URLS: &[Url] = &[Url::localhost(2380)];
/// Default addresses for clients; etcd's.
const CLIENT_URLS: &[Url] = &[Url::localhost(2379)];

rows! { MEMBER: Member;
    NAME: &str = "name", Text, "default", Used,
        "Name of this member, unique within the cluster.";
    DATA_DIR: &str = "data-dir", Text, "", Used,
        "Directory that holds everything this member must keep. Empty means NAME.tenure in the \
         working directory.";
    _: &str = "wal-dir", Text, "", Refused("a separate directory for the log"),
        "Directory of the log apart from the data directory.";
    CONFIG_FILE: &str = "config-file", Text, "", Used,
        "TOML file with settings under these same names. A flag or a variable beats the file.";
    LISTEN_PEER_URLS: &[Url] = "listen-peer-urls", Urls, PEER_URLS, Used,
        "Addresses to listen on for the other members.";
    LISTEN_CLIENT_URLS: &[Url] = "listen-client-urls", Urls, CLIENT_URLS, Used,
        "Addresses to listen on for clients: gRPC and the HTTP pages share each port.";
    LISTEN_CLIENT_HTTP_URLS: &[Url] = "listen-client-http-urls", Urls, &[], Used,
        "Addresses for the HTTP pages and the JSON gateway. With any, listen-client-urls serves \
         gRPC alone.";
    HEARTBEAT_INTERVAL: u64 = "heartbeat-interval", Millis, 100, Used,
        "Milliseconds between two heartbeats of the leader.";
    ELECTION_TIMEOUT: u64 = "election-timeout", Millis, 1000, Used,
        "Milliseconds without a leader before a member stands for election. At least five \
         heartbeats, at most 50000.";
    _: bool = "initial-election-tick-advance", Bool, true,
        Ignored("elections do not count ticks"),
        "Whether to shorten the first wait for a leader.";
    SNAPSHOT_COUNT: u64 = "snapshot-count", Uint, 10_000, Used,
        "Log entries after which a snapshot is taken. 0 means the default.";
    SNAPSHOT_CATCHUP_ENTRIES: u64 = "snapshot-catchup-entries", Uint, 5000, Used,
        "Log entries kept behind a snapshot, so that a slow member catches up without a full copy.";
    _: u64 = "max-wals", Uint, 5, Ignored("log files are recycled, not counted"),
        "Log files to keep.";
    QUOTA_BACKEND_BYTES: i64 = "quota-backend-bytes", Int, 0, Used,
        "Bytes the key space may use before writes are refused. 0 means 2 GiB, a negative number \
         means no limit.";
    DISK_RESERVE_BYTES: i64 = "disk-reserve-bytes", Int, 0, Used,
        "Free bytes on the file system of the data directory below which writes are refused, so \
         that deletes and compaction still find room. 0 means 512 MiB, but at most a tenth of the \
         file system; a negative number means none.";
    ALARM_AUTO_CLEAR: bool = "alarm-auto-clear", Bool, false, Used,
        "Whether a member clears its own NOSPACE alarm once it uses a tenth less than its quota \
         and its disk has a tenth more than the reserve.";
    MAX_TXN_OPS: u64 = "max-txn-ops", Uint, 128, Used,
        "Operations that one transaction may hold.";
    MAX_REQUEST_BYTES: u64 = "max-request-bytes", Uint, 3 << 19, Used,
        "Bytes that one request of a client may have.";
    MAX_CONCURRENT_STREAMS: u32 = "max-concurrent-streams", Uint32, 8192, Used,
        "Calls that one client connection may have open at a time. Others wait in the client.";
    GRPC_KEEPALIVE_MIN_TIME: Duration = "grpc-keepalive-min-time", Duration, secs(5),
        Ignored("pings of clients are not policed"),
        "Shortest time between two pings of a client; a client that pings more often is \
         disconnected.";
    GRPC_KEEPALIVE_INTERVAL: Duration = "grpc-keepalive-interval", Duration, mins(1), Used,
        "Time between two pings of the server on an idle client connection. 0s means never.";
    GRPC_KEEPALIVE_TIMEOUT: Duration = "grpc-keepalive-timeout", Duration, secs(20), Used,
        "Time a client has to answer a ping before it is disconnected.";
    WATCH_PROGRESS_NOTIFY_INTERVAL: Duration = "watch-progress-notify-interval", Duration, mins(10),
        Used,
        "Time between two progress notifications on an idle watch that asked for them.";
    MAX_LEARNERS: u32 = "max-learners", Uint32, 1, Used,
        "Learners that the cluster may have at a time, beside members that become voters by \
         themselves.";
    _: bool = "socket-reuse-port", Bool, false, Ignored("one process owns a port"),
        "Whether listeners share their port with other processes.";
    _: bool = "socket-reuse-address", Bool, false, Ignored("the listeners always set this option"),
        "Whether listeners may bind an address that is still closing.";
    _: &str = "backend-bbolt-freelist-type", Choice(&["array", "map"]), "map",
        Ignored("the storage engine has no freelist"),
        "Form of the freelist of etcd's storage engine.";
    _: Duration = "backend-batch-interval", Duration, secs(0),
        Ignored("batches end by themselves, not by time"),
        "Longest time before a batch is written.";
    _: i64 = "backend-batch-limit", Int, 0, Ignored("batches end by themselves, not by a count"),
        "Most operations before a batch is written.";
    _: u64 = "bootstrap-defrag-threshold-megabytes", Uint, 0,
        Ignored("space comes back without defragmentation"),
        "Free space that makes a member defragment when it starts.";
    _: Duration = "raft-read-timeout", Duration, secs(5),
        Ignored("peer streams follow the election timeout"),
        "Longest wait for data from a peer.";
    _: Duration = "raft-write-timeout", Duration, secs(5),
        Ignored("peer streams follow the election timeout"),
        "Longest wait for a peer to take data.";
    _: bool = "memory-mlock", Bool, false, Ignored("the data set may exceed memory"),
        "Whether to pin the data in memory.";
    ENABLE_GRPC_GATEWAY: bool = "enable-grpc-gateway", Bool, true, Used,
        "Whether to serve the API as JSON over HTTP.";
    FEATURE_GATES: &str = "feature-gates", Text, "", Used,
        "Switches of experimental features, as name=true pairs, with etcd's names. \
         InitialCorruptCheck and CompactHashCheck have an effect.";
}

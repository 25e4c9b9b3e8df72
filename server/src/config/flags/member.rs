//! Settings of this process: its name, its directory, its listeners and its limits.

use super::{Class::*, Flag, Group, Kind::*};

pub(super) const FLAGS: &[Flag] = rows! { Member;
    "name", Text, "default", Used,
        "Name of this member, unique within the cluster.";
    "data-dir", Text, "", Used,
        "Directory that holds everything this member must keep. Empty means NAME.tenure in the \
         working directory.";
    "wal-dir", Text, "", Refused("a separate directory for the log"),
        "Directory of the log apart from the data directory.";
    "config-file", Text, "", Used,
        "TOML file with settings under these same names. A flag or a variable beats the file.";
    "listen-peer-urls", Urls, "http://localhost:2380", Used,
        "Addresses to listen on for the other members.";
    "listen-client-urls", Urls, "http://localhost:2379", Used,
        "Addresses to listen on for clients: gRPC and the HTTP pages share each port.";
    "listen-client-http-urls", Urls, "", Refused("a listener for HTTP alone"),
        "Addresses for the HTTP pages apart from gRPC.";
    "heartbeat-interval", Millis, "100", Used,
        "Milliseconds between two heartbeats of the leader.";
    "election-timeout", Millis, "1000", Used,
        "Milliseconds without a leader before a member stands for election. At least five \
         heartbeats, at most 50000.";
    "initial-election-tick-advance", Bool, "true",
        Ignored("elections do not count ticks"),
        "Whether to shorten the first wait for a leader.";
    "snapshot-count", Uint, "10000", Used,
        "Log entries after which a snapshot is taken. 0 means the default.";
    "snapshot-catchup-entries", Uint, "5000", Used,
        "Log entries kept behind a snapshot, so that a slow member catches up without a full copy.";
    "max-wals", Uint, "5", Ignored("log files are recycled, not counted"),
        "Log files to keep.";
    "quota-backend-bytes", Int, "0", Used,
        "Bytes the key space may use before writes are refused. 0 means 2 GiB, a negative number \
         means no limit.";
    "max-txn-ops", Uint, "128", Used,
        "Operations that one transaction may hold.";
    "max-request-bytes", Uint, "1572864", Used,
        "Bytes that one request of a client may have.";
    "max-concurrent-streams", Uint32, "4294967295", Used,
        "Calls that one client connection may have open at a time.";
    "grpc-keepalive-min-time", Duration, "5s",
        Ignored("pings of clients are not policed"),
        "Shortest time between two pings of a client; a client that pings more often is \
         disconnected.";
    "grpc-keepalive-interval", Duration, "1m", Used,
        "Time between two pings of the server on an idle client connection. 0s means never.";
    "grpc-keepalive-timeout", Duration, "20s", Used,
        "Time a client has to answer a ping before it is disconnected.";
    "watch-progress-notify-interval", Duration, "10m", Used,
        "Time between two progress notifications on an idle watch that asked for them.";
    "max-learners", Uint32, "1",
        Ignored("changing the members is not built yet"),
        "Learners that the cluster may have at a time.";
    "socket-reuse-port", Bool, "false", Ignored("one process owns a port"),
        "Whether listeners share their port with other processes.";
    "socket-reuse-address", Bool, "false", Ignored("the listeners always set this option"),
        "Whether listeners may bind an address that is still closing.";
    "backend-bbolt-freelist-type", Choice(&["array", "map"]), "map",
        Ignored("the storage engine has no freelist"),
        "Form of the freelist of etcd's storage engine.";
    "backend-batch-interval", Duration, "0s", Ignored("batches end by themselves, not by time"),
        "Longest time before a batch is written.";
    "backend-batch-limit", Int, "0", Ignored("batches end by themselves, not by a count"),
        "Most operations before a batch is written.";
    "bootstrap-defrag-threshold-megabytes", Uint, "0",
        Ignored("space comes back without defragmentation"),
        "Free space that makes a member defragment when it starts.";
    "raft-read-timeout", Duration, "5s", Ignored("peer streams follow the election timeout"),
        "Longest wait for data from a peer.";
    "raft-write-timeout", Duration, "5s", Ignored("peer streams follow the election timeout"),
        "Longest wait for a peer to take data.";
    "memory-mlock", Bool, "false", Ignored("the data set may exceed memory"),
        "Whether to pin the data in memory.";
    "enable-grpc-gateway", Bool, "true", Ignored("the JSON gateway is not built yet"),
        "Whether to serve the API as JSON over HTTP.";
    "feature-gates", Text, "", Ignored("no feature here has a gate"),
        "Switches of experimental features, as name=true pairs.";
};

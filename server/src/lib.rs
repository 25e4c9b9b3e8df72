//! The tenure server: all I/O around the replicated state machine.
//!
//! From the bottom up: `consensus` has the types of the log, `storage` stores it, `raft` replicates
//! it; `events` publishes applied changes; `node` combines these into one replica; `duties` are the
//! background tasks of a leader; `rpc` serves clients, `admin` plain HTTP; `app` builds and runs
//! all of them. A module uses those before it and none after it. Time, threads and the network are
//! accessed through `clock`, `tasks` and `transport` only, so that a simulation can substitute
//! them.

pub mod admin;
pub mod app;
pub mod auth;
pub mod backup;
pub mod clock;
pub mod config;
pub mod consensus;
pub mod duties;
pub mod events;
pub mod fatal;
pub mod flushes;
pub mod metrics;
pub mod node;
pub mod raft;
pub mod rpc;
pub mod share;
pub mod storage;
pub mod tasks;
pub mod telemetry;
pub mod transport;

//! The tenure server: everything with I/O around the replicated state machine.
//!
//! From the bottom up: `consensus` has the types of the log, `storage` keeps it, `raft` replicates
//! it; `events` tells of what was applied; `node` is all of these as one replica; `duties` are what
//! a leader does by itself; `rpc` serves clients, `admin` plain HTTP; `app` builds and runs the
//! whole. A module uses those before it and none after it. `clock`, `tasks` and `transport` are the
//! only doors to time, threads and the network, so that a simulation can stand behind them.

pub mod admin;
pub mod app;
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

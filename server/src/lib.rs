//! The tenure server: everything with I/O around the replicated state machine.
//!
//! `node` and `raft` replicate, `storage` keeps, `rpc` and `watch`, `lease` and
//! `claims` serve, `admin`
//! serves plain HTTP. `clock`, `tasks` and `transport` are the only doors to time, threads and the
//! network, so that a simulation can stand behind them.

pub mod admin;
pub mod app;
pub mod claims;
pub mod clock;
pub mod config;
pub mod fatal;
pub mod flushes;
pub mod lease;
pub mod metrics;
pub mod node;
pub mod raft;
pub mod rpc;
pub mod share;
pub mod storage;
pub mod tasks;
pub mod telemetry;
pub mod transport;
pub mod watch;

//! Load on a quorum of tenure and, side by side, on one of etcd: nodes, clients, figures.
//!
//! Not a pass or fail test: how fast either side is decides nothing here, only a request that
//! failed does. Both sides always get the same requests from the same clients.

pub mod arguments;
mod cell;
mod cluster;
mod connections;
mod figures;
pub mod hostile;
mod latency;
mod process;
mod report;
mod round;
mod run;
mod window;
mod work;

pub use run::{Verdict, run};

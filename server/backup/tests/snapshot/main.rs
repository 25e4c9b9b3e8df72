//! Snapshots as files of etcd: the checksum, the rows, and what is computed from them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod checksum;
mod hash;
mod rows;
mod summary;
#[path = "../written.rs"]
mod written;

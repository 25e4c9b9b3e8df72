//! Snapshots between this crate and etcd's own programs, in both directions.
//!
//! The programs are those on the path, which Debian packages as `etcd-server` and `etcd-client`.
//! `TENURE_ETCD_TOOLS` names a directory with those of another version, which are then used, too;
//! from etcd 3.6 on there must be an `etcdutl`. Without programs the tests say so and pass.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod by_etcd;
mod by_us;
mod history;
mod server;
mod tools;
#[path = "../written.rs"]
mod written;

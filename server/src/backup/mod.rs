//! Snapshots of the state in etcd's format, out of a running node and into a new data directory.
//!
//! The format is that of the crate `tenure-backup`. What etcd does not know of is in one more
//! bucket, so that one file is a backup of everything here, and a snapshot that etcd restores.

mod export;
mod import;
mod pipe;
mod rows;
mod stream;
mod users;

pub use self::{
    import::{ImportError, import},
    rows::ClusterFacts,
    stream::{Pieces, SNAPSHOTS_MAX, SnapshotError, SnapshotStreams},
};

//! Snapshot files in etcd's format: bbolt databases that etcd's own tools verify and restore.
//!
//! [`bbolt`] writes and reads the database, [`mod@file`] the SHA-256 behind it, [`schema`] the rows
//! of etcd's buckets. [`status`](fn@status) and [`hash_kv`](fn@hash_kv) compute what `etcdutl`
//! prints for a file. `docs/snapshot-format.md` describes the format. [`archive`] reads
//! the files that an archiver writes beside snapshots.
//!
//! The crate does not know the server: rows are supplied and received by its user. It starts no
//! thread, maps no memory, and keeps in memory a small part of a file at a time; what grows with
//! the file is said where it does.
//!
//! Invariant: a file that is damaged, cut or hostile gives a typed error that names the page or the
//! row. It causes no panic, no endless loop, and no allocation for a length that it does not have.
#![deny(
    missing_docs,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

pub mod archive;
pub mod bbolt;
mod content;
pub mod file;
mod hash_kv;
mod ids;
mod restored;
pub mod schema;
mod status;

pub use bytes::Bytes as Chunk;
pub use tenure_statemachine::{MemberId, Revision};

pub use self::{
    content::{ContentError, Contents, contents, rows_of},
    hash_kv::{HashError, hash_kv},
    ids::{cluster_id, member_id},
    restored::{Changes, RestoreError, restored},
    status::{Status, status},
};

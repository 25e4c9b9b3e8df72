//! The log in its own files: segments that are allocated once, appended to, and reused.
//!
//! A batch is one write and one sync, and touches neither the file system's journal nor file sizes.
//! Specified in docs/storage-format.md; decided in docs/decisions/0011. The log store interprets
//! the entries. Invariant: after a crash everything that a sync covered is found, or the log is
//! refused with the faulty file named.

mod bounds;
mod error;
mod facts;
mod fields;
mod files;
mod gather;
mod head;
mod index;
mod log;
mod names;
mod provision;
mod read;
mod record;
mod recovery;
mod replay;
mod scan;
mod sector;
mod writer;

pub use self::{
    error::LogError,
    files::{DiskFiles, LogFile, LogFiles},
    head::LogOwner,
    log::{LogOptions, SegmentLog},
};

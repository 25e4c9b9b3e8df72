//! The log in files of its own: segments that are laid out once, appended to, and used again.
//!
//! A batch is one write and one sync, and touches neither the file system's journal nor its sizes.
//! Specified in docs/storage-format.md; decided in docs/decisions/0011. Not the entries' meaning:
//! that is the log store's. Invariant: what a sync covered is found after a crash, or the log is
//! refused by name.

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

//! The segments of an archive: the revisions after a snapshot, in files that are only appended to.
//!
//! An archive is a folder with snapshots and segments. [`Segment`] reads one, [`encode`] makes what
//! is appended to one, and [`point_in_time`] makes the snapshot of a revision from a snapshot and
//! the segments after it. Folders, clocks and durability are the user's.
//! `docs/archive-format.md` describes the files.
//!
//! Invariant: revisions in a segment have no gap. Damage gives a typed error that names the file
//! and the place, and is never taken for the end of the file.

mod change;
mod differences;
mod fault;
mod leases;
mod point_in_time;
mod segment;
mod span;

pub use self::{
    change::{ArchivedChange, ArchivedRevision},
    differences::{Difference, DifferenceKind, KeyState, differences},
    fault::{SegmentError, SegmentFault},
    point_in_time::{PointError, point_in_time},
    segment::{
        FRAME_BYTES_MAX, Frames, Place, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, encode,
    },
    span::{Span, span},
};

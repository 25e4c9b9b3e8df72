//! The past of the key space: reading it, hashing it, and taking it away below the floor.
//!
//! Invariant: what is at or above the floor can be read, whatever was collected.

mod collect;
mod compactions;
mod events;
mod hash;
mod mark;
mod reach;

pub use self::{
    collect::{Collector, Progress},
    events::{History, HistoryQuery, RevisionEvents, Wanted},
    hash::HashKv,
};
pub(crate) use self::{
    compactions::{Compaction, note as note_compaction},
    reach::is_reachable,
};

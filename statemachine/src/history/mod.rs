//! The past of the key space: reading and hashing it, and collecting it below the floor.
//!
//! Invariant: changes at or above the floor can be read, regardless of collection.

mod collect;
mod compactions;
mod events;
mod hash;
mod hash_rule;
mod mark;
mod reach;

pub use self::{
    collect::{Collector, Progress},
    events::{History, HistoryQuery, RevisionEvents, Wanted},
    hash_rule::{Counts, HashKv, HashRule},
};
pub(crate) use self::{
    compactions::{Compaction, note as note_compaction},
    reach::is_reachable,
};

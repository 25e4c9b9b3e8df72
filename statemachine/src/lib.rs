//! The replicated state machine: `(state, context, command) -> outcome`, pure and deterministic.
//!
//! [`StateMachine`] is the only door through which state changes; [`Reader`] answers every
//! question. Neither knows a clock, a thread, a file, a socket or a random number. What state is
//! kept in is an [`Engine`]. The crate does not log and does not start anything.
//!
//! Invariant: two machines that were given the same commands under the same contexts hold equal
//! logical state ([`digest`]) and gave equal outcomes, however the commands were split into
//! batches and wherever a machine was reopened.
#![doc = include_str!("../README.md")]
#![deny(
    missing_docs,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm
)]

mod cluster;
pub mod codec;
mod collect;
mod command;
mod context;
mod digest;
pub mod engine;
mod error;
mod hash;
mod history;
pub mod invariants;
mod keys;
mod kv;
mod lease;
mod machine;
mod meta;
mod outcome;
mod overlay;
mod range;
mod read;
mod record;
mod select;
mod txn;
mod types;

pub use self::{
    codec::{Entry, Group, decode_entry, decode_group, encode_entry, encode_group},
    collect::{Collector, Progress},
    command::{
        AlarmChange, AlarmKind, Command, Compare, DeleteRange, LeaseExpiry, LeaseGrant,
        MemberAttributes, Operand, Put, RangeQuery, Relation, SortOrder, SortTarget, Txn, TxnOp,
    },
    context::Context,
    digest::digest,
    engine::{Cursor, Engine, MemEngine, Table, View, WriteBatch, WriteOp},
    error::{EngineError, Fault, ReadError, Refusal},
    hash::HashKv,
    history::RevisionEvents,
    lease::Lease,
    machine::{ApplyBatch, StateMachine},
    meta::Meta,
    outcome::{DeleteReply, Event, EventKind, Outcome, RangeReply, Reply, TxnOpReply, TxnReply},
    range::{KeyRange, RangeEnd},
    read::Reader,
    types::{ClusterTime, KeyValue, LeaseId, MemberId, Revision, Ttl},
};

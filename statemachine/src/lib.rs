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

mod claims;
mod cluster;
pub mod codec;
mod collect;
mod command;
mod compactions;
mod context;
mod digest;
mod effects;
pub mod engine;
mod error;
mod execute;
mod family;
mod feature;
mod fence;
mod guard;
mod hash;
mod history;
pub mod invariants;
mod keys;
mod kv;
mod lease;
mod limit;
mod machine;
mod merge;
mod meta;
mod once;
mod origin;
mod outcome;
mod overlay;
mod price;
mod range;
mod read;
mod record;
mod registry;
mod select;
mod timers;
mod totals;
mod transition;
mod txn;
mod types;
mod walk;
mod weight;
mod will;

pub use self::{
    claims::{CLAIMS_PER_NAME_MAX, MOVED_BYTES_MAX, MOVES_MAX, Queue, claim_key, claimed_name},
    codec::{
        Entry, Group, decode_entry, decode_group, encode_entry, encode_group,
        encode_repeatable_group,
    },
    collect::{Collector, Progress},
    command::{
        Acquire, AlarmChange, AlarmKind, ClaimCommand, Command, Compact, Compare, Conditional,
        DeleteRange, Deregister, Drain, FenceCommand, FencePolicy, ForceRelease, Guard, HandOver,
        InstanceName, LeaseExpire, LeaseExpiry, LeaseGrant, LeaseRenew, LeaseRevoke,
        MemberAttributes, Mode, Operand, Operation, OtherReply, Proclaim, Put, RangeQuery,
        Readiness, Register, RegistryCommand, Relation, Release, RequestId, SessionOpen,
        SetReadiness, SortOrder, SortTarget, Transfer, Txn, TxnOp, Wait, Will, WillSet, Withdraw,
    },
    context::Context,
    digest::{digest, digest_paced},
    engine::{Cursor, Engine, MemEngine, Table, View, WriteBatch, WriteOp},
    error::{EngineError, Fault, MissingGuard, ReadError, Refusal, StaleToken},
    feature::{FeatureLevel, level_needed, worded_for},
    fence::POLICIES_MAX,
    hash::HashKv,
    history::{History, HistoryQuery, RevisionEvents, Wanted},
    lease::{KeyCount, Lease, MayHave},
    limit::Limit,
    machine::{ApplyBatch, StateMachine},
    meta::Meta,
    once::{SHARED_KEYS_MAX, SessionState},
    origin::{Admission, ORIGIN_WINDOW, ORIGINS_MAX},
    outcome::{
        AcquireReply, ClaimState, DeleteReply, EndCause, Event, EventKind, Facts, Outcome,
        RangeReply, Reply, Signal, TxnOpReply, TxnReply,
    },
    range::{KeyRange, RangeEnd},
    read::Reader,
    registry::{SERVICES_PREFIX, service_range},
    types::{ClusterTime, KeyValue, LeaseId, MemberId, Revision, Ttl},
};

//! The replicated state machine: `(state, context, command) -> outcome`, pure and deterministic.
//!
//! All changes of the state go through [`StateMachine`], all reads through [`Reader`]. Neither uses
//! a clock, a thread, a file, a socket or a random number. The state is stored in an [`Engine`].
//! The crate does not log and does not start anything.
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

mod access;
mod auth;
mod claims;
mod cluster;
pub mod codec;
mod command;
mod digest;
mod encoding;
pub mod engine;
mod error;
mod estimate;
mod execute;
mod feature;
mod fence;
mod history;
pub mod invariants;
mod keyspace;
mod kv;
mod lease;
mod machine;
mod meta;
mod once;
mod origin;
mod outcome;
mod price;
mod read;
mod registry;
pub mod restore;
mod rows;
mod timers;
mod transition;
mod value;
mod will;

pub use self::{
    access::{AuthState, Need, Owner, PermissionCache, Permissions, Role, User, needs_of},
    claims::{CLAIMS_PER_NAME_MAX, MOVED_BYTES_MAX, MOVES_MAX, Queue},
    codec::{
        Entry, Group, decode_entry, decode_group, encode_entry, encode_group,
        encode_repeatable_group,
    },
    command::{
        Acquire, AlarmChange, AuthChange, By, ClaimCommand, Command, Compact, Compare, Conditional,
        DeleteRange, Deregister, Drain, FenceCommand, FencePolicy, ForceRelease, Guard, HandOver,
        LeaseExpire, LeaseExpiry, LeaseGrant, LeaseRenew, LeaseRevoke, MemberAttributes, Operand,
        Operation, OtherReply, Principal, Proclaim, Put, RangeQuery, Readiness, Register,
        RegistryCommand, Relation, Release, RequestId, SessionOpen, SetReadiness, SortOrder,
        SortTarget, Transfer, Txn, TxnOp, Wait, Will, WillSet, Withdraw, by_system, level_lowest,
        level_needed, worded_for,
    },
    digest::{digest, digest_paced},
    engine::{Cursor, Engine, MemEngine, Table, View, WriteBatch, WriteOp},
    error::{EngineError, Fault, MissingGuard, ReadError, Refusal, StaleToken},
    feature::FeatureLevel,
    fence::POLICIES_MAX,
    history::{
        Collector, Counts, HashKv, HashRule, History, HistoryQuery, Progress, RevisionEvents,
        Wanted,
    },
    keyspace::{
        InstanceName, SERVICES_PREFIX, claim_key, claim_range, claimed_name, service_range,
    },
    lease::{KeyCount, Lease, MayHave},
    machine::{ApplyBatch, StateMachine},
    meta::Meta,
    once::{SHARED_KEYS_MAX, SessionState},
    origin::{Admission, ORIGIN_WINDOW, ORIGINS_MAX},
    outcome::{
        AcquireReply, ClaimState, DeleteReply, EndCause, Event, EventKind, Facts, Outcome,
        RangeReply, Reply, Signal, TxnOpReply, TxnReply,
    },
    read::Reader,
    value::{
        Access, AlarmKind, AuthRevision, ClusterTime, Context, KeyRange, KeyValue, LeaseId, Limit,
        MemberId, Mode, Permission, RangeEnd, Revision, Ttl,
    },
};

//! The client for the tenure coordination service, and for anything else that speaks etcd v3.
//!
//! ```toml
//! [dependencies]
//! tenure = "0.1"
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! ```no_run
//! use std::time::Duration;
//! use tenure::{Client, KeyRange};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), tenure::Error> {
//! let client = Client::connect(["10.0.0.1", "10.0.0.2", "10.0.0.3"]).await?;
//!
//! // Keys live in one ordered space; every change of the store has a revision of its own.
//! client.put("config/mode", "fast").await?;
//! let configuration = client.get(KeyRange::prefix("config/")).await?;
//! println!("{} keys", configuration.count());
//!
//! // A lock has a fencing token: writes through its guard are refused once it is lost.
//! let guard = client.locks().acquire("jobs/42").ttl(Duration::from_secs(5)).await?;
//! guard.guarded().put("state/jobs/42", "running").await?;
//! guard.release().await?;
//!
//! // A key on a lease is deleted when its owner stops renewing.
//! let lease = client.leases().grant(Duration::from_secs(10)).await?;
//! let alive = client.leases().keep_alive(lease.id()).await?;
//! client.put("instances/a", "10.0.0.9:80").lease(lease.id()).await?;
//! println!("lost: {}", alive.lost().await);
//! # Ok(())
//! # }
//! ```
//!
//! Requests are builders: options are methods, and the request is sent when it is awaited. Answers
//! are types of this crate.
//!
//! # Where to find what
//!
//! Keys are read, written and watched on the [`Client`] itself: [`get`](Client::get),
//! [`put`](Client::put), [`delete`](Client::delete), [`txn`](Client::txn),
//! [`watch`](Client::watch). Everything else is one step further:
//!
//! | | |
//! |---|---|
//! | [`client.leases()`](Leases) | leases: granting, renewing, ending |
//! | [`client.locks()`](Locks) | locks with fencing tokens, and looking at their queues |
//! | [`client.elections()`](Elections) | one leader at a time |
//! | [`client.registry()`](Registry) | registrations of instances, and finding them |
//! | [`client.sessions()`](Sessions) | writes that take effect once |
//! | [`client.fence_policies()`](fence::FencePolicies) | prefixes that a lock protects |
//! | [`client.recipes()`](Recipes) | barriers, latches, counters, queues |
//! | [`client.cluster()`](Cluster) | members |
//! | [`client.maintenance()`](Maintenance) | status, compaction, alarms, hashes, snapshots |
//! | [`client.namespace(prefix)`](Namespace) | the keys below a prefix, named without it |
//! | [`client.cached(prefix)`](PrefixCache) | the keys below a prefix, kept in memory |
//! | [`client.stm()`](Stm) | code that runs as a transaction, again when it must |
//!
//! Guards of locks and leaders tell in time when they are lost; [`fence`] checks their tokens where
//! data is not in the store.
//!
//! # What the client does by itself
//!
//! * Every call has a deadline: five seconds, or the one set by [`ClientBuilder::timeout`],
//!   [`Client::with_timeout`] or the request. The server receives it.
//! * An endpoint that cannot be reached is left for another one; one where connection after
//!   connection fails is left alone for a while ([`ClientBuilder::breaker`]).
//! * Reads are repeated when a server is unavailable, any call when it was certainly not executed:
//!   after growing, random pauses or when the server says, at most twelve times
//!   ([`ClientBuilder::attempts_max`]) and within a budget that clones share
//!   ([`ClientBuilder::retry_budget`]). On demand, slow reads go to a second endpoint
//!   ([`ClientBuilder::hedge`]).
//! * A write whose answer is lost is not sent again, because it may have been executed: the error
//!   says so ([`Error::outcome_unknown`]). Through a [`Session`], with
//!   [`ClientBuilder::exactly_once`], or with an idempotency key it is sent again, and executed
//!   once.
//! * Watches go on after a break where they stopped ([`Watcher`]). Leases are renewed on a
//!   connection of their own, and their loss is known before the server may act on it
//!   ([`KeepAlive`]).
//! * A write that carries a [`Guard`] takes effect only while its token holds;
//!   [`Client::guarded`] makes that every write.
//! * What happened is counted ([`Client::metrics`]); every call has a `tracing` span named
//!   `tenure.call`, with `method`, `attempt`, `endpoint` and `outcome`.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | what it adds |
//! |---|---|
//! | `discovery` | gRPC calls balanced over registered instances |
//! | `fence-http` | checking fencing tokens in services: a `tower` layer |
//! | `fence-axum` | the same as an extractor for `axum` |
//! | `serde` | values as JSON: [`Client`] writes what serializes, [`KeyValue`] gives it back |
//! | `wire` | the generated messages, which change without a new major version of this crate |
//! | `fence-sqlite` | nothing but tests of [`fence::SqlFence`] on a SQLite |
//!
//! Rust 1.89 or later.

#![deny(missing_docs)]

mod auth;
mod breaker;
mod budget;
mod builder;
mod cache;
mod call;
mod channel;
mod claim;
mod client;
mod cluster;
mod conditions;
mod config;
mod duration;
mod election;
mod endpoint;
mod error;
#[cfg(test)]
#[expect(dead_code, reason = "the tests in `tests/calls` use the rest")]
mod fake;
pub mod fence;
mod freshness;
mod hedge;
mod id;
#[cfg(feature = "serde")]
mod json;
mod kv;
mod lease;
mod lock;
mod locks;
mod maintenance;
mod namespace;
mod observe;
mod prefix;
mod range;
mod range_stream;
mod ready;
mod recipes;
mod registry;
mod response;
mod resume;
mod retry;
mod run;
mod session;
mod stm;
mod txn;
mod watch;

pub use breaker::BreakerState;
pub use cache::{CacheView, Cached, PrefixCache};
pub use claim::{ClaimLoss, QueuePlace};
pub use client::Client;
pub use cluster::{Cluster, Members};
pub use conditions::Guard;
pub use config::ClientBuilder;
pub use election::{Campaign, Election, Elections, Leader, Leadership, Observer};
pub use endpoint::IntoEndpoints;
pub use error::{Error, ErrorKind};
pub use hedge::Hedge;
pub use id::{LeaseId, MemberId, Revision, Token, TokenError};
pub use kv::{Delete, Get, Put, SortOrder, SortTarget};
pub use lease::{Grant, KeepAlive, LeaseLoss, Leases, Revoke, TimeToLive};
pub use lock::{LockGuard, LockRequest, RwLock, Semaphore};
pub use locks::{CheckToken, ForceRelease, InspectLock, ListLocks, Locks};
pub use maintenance::{Compact, Maintenance, Snapshot};
pub use namespace::Namespace;
pub use observe::{EndpointHealth, Metrics};
pub use range::{IntoBytes, KeyRange, prefix_end};
pub use range_stream::RangeStream;
pub use recipes::{
    Barrier, Counted, Counter, DeadLetter, Delivery, DoubleBarrier, Inside, Latch, Queue, Recipes,
};
#[cfg(feature = "discovery")]
pub use registry::{BalanceOptions, Balanced, Balancer};
pub use registry::{
    Discover, EndpointChange, EndpointView, EndpointWatch, Instance, KeptRegistration, Register,
    Registration, Registry, Resolver, Selector, WatchEndpoints,
};
pub use response::{
    Alarm, AlarmKind, Claim, ClaimMode, DeleteResponse, Discovered, Event, FencePolicy,
    GetResponse, Header, HistoryHash, KeyValue, Lease, LeaseTimeToLive, List, LockList, LockQueue,
    Member, MemberAdded, MemberRole, OpResponse, PutResponse, Readiness, RegisteredInstance,
    ServedAt, SessionState, SnapshotPiece, Status, StoreHash, TokenCheck, TxnResponse,
};
pub use session::{Session, Sessions};
pub use stm::{Stm, StmTxn};
pub use tonic::Code;
pub use txn::{Compare, Op, Relation, Txn};
pub use watch::{Update, Watch, WatchControl, Watcher};

/// The generated messages of the wire, into which responses turn by `into_wire`. They belong to the
/// code generator: a new version of it may change them at any time.
#[cfg(feature = "wire")]
pub mod wire {
    pub use tenure_proto::{API_VERSION, etcdserverpb, limits, mvccpb, v1};
}

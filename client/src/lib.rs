//! The client for the tenure coordination service, and for anything else that speaks etcd v3.
//!
//! ```no_run
//! use std::time::Duration;
//! use tenure::{Client, KeyRange};
//!
//! # async fn example() -> Result<(), tenure::Error> {
//! let client = Client::connect(["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"]).await?;
//!
//! // Keys live in one ordered space; every change of the store has a revision of its own.
//! client.put("config/mode", "fast").await?;
//! let configuration = client.get(KeyRange::prefix("config/")).await?;
//! println!("{} keys", configuration.count());
//!
//! // A key on a lease is deleted when its owner stops renewing.
//! let lease = client.lease_grant(Duration::from_secs(10)).await?;
//! let alive = client.lease_keep_alive(lease.id()).await?;
//! client.put("instances/a", "10.0.0.9:80").lease(lease.id()).await?;
//! println!("lost: {}", alive.lost().await);
//! # Ok(())
//! # }
//! ```
//!
//! # What the client does by itself
//!
//! * Every call has a deadline: five seconds, or the one set by [`ClientBuilder::timeout`],
//!   [`Client::with_timeout`] or the request. The server is told.
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
//! # What is built on it
//!
//! * Locks with fencing tokens: exclusive ([`Client::lock`]), several at once
//!   ([`Client::lock_all`]), shared ([`Client::rw_lock`]), counted ([`Client::semaphore`]); and
//!   elections ([`Client::election`]). Their guards tell in time when they are lost.
//! * [`fence`]: checking tokens where data is not in the store.
//! * Registrations of instances ([`Client::registry`]), and with the feature `discovery` gRPC calls
//!   balanced over them.
//! * What operators need: looking at what others hold and ending it ([`Client::inspect_lock`],
//!   [`Client::force_release`], [`Client::inspect_session`], [`Client::close_session`],
//!   [`Election::hand_over`], [`Registry::drain`]), and fence policies
//!   ([`Client::set_fence_policy`]).
//! * Recipes: [`Client::barrier`], [`Client::double_barrier`], [`Client::latch`],
//!   [`Client::counter`], [`Client::queue`].
//!
//! Requests are builders: options are methods, and the request is sent when it is awaited. Answers
//! are types of this crate. The generated messages of the wire are reached with the feature `wire`
//! only, whose contents change with the code generator and without a new major version.

#![deny(missing_docs)]

mod auth;
mod breaker;
mod budget;
mod builder;
mod call;
mod channel;
mod claim;
mod client;
mod cluster;
mod conditions;
mod config;
mod election;
mod error;
#[cfg(test)]
#[expect(dead_code, reason = "the tests in `tests/calls` use the rest")]
mod fake;
pub mod fence;
mod hedge;
mod id;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod observe;
mod range;
mod range_stream;
mod recipes;
mod registry;
mod response;
mod resume;
mod retry;
mod run;
mod session;
mod txn;
mod watch;

pub use breaker::BreakerState;
pub use claim::{ClaimLoss, QueuePlace};
pub use client::Client;
pub use cluster::Freshness;
pub use conditions::Guard;
pub use config::ClientBuilder;
pub use election::{Campaign, Election, Leader, Leadership, Observer};
pub use error::{Error, ErrorKind};
pub use hedge::Hedge;
pub use id::{LeaseId, MemberId, Revision, Token, TokenError};
pub use kv::{Compact, Delete, Get, Put, SortOrder, SortTarget};
pub use lease::{Grant, KeepAlive, LeaseLoss, Revoke};
pub use lock::{LockGuard, LockRequest, RwLock, Semaphore};
pub use maintenance::Snapshot;
pub use observe::{EndpointHealth, Metrics};
pub use range::{IntoBytes, KeyRange, prefix_end};
pub use range_stream::RangeStream;
pub use recipes::{
    Barrier, Counted, Counter, DeadLetter, Delivery, DoubleBarrier, Inside, Latch, Queue,
};
#[cfg(feature = "discovery")]
pub use registry::{BalanceOptions, Balanced, Balancer};
pub use registry::{
    Discover, EndpointChange, EndpointView, EndpointWatch, Instance, KeptRegistration, Register,
    Registration, Registry, Resolver, Selector,
};
pub use response::{
    Alarm, AlarmKind, AlarmList, Claim, ClaimMode, DeleteResponse, Discovered, Event,
    FencePolicies, FencePolicy, GetResponse, Header, HistoryHash, KeyValue, Lease, LeaseList,
    LeaseRenewal, LeaseTimeToLive, LockList, LockQueue, Member, MemberAdded, MemberList,
    MemberRole, OpResponse, PutResponse, Readiness, RegisteredInstance, ReleasedClaims, ServedAt,
    SessionState, SnapshotPiece, Status, StoreHash, TokenCheck, TxnResponse,
};
pub use session::Session;
pub use tonic::Code;
pub use txn::{Compare, Op, Relation, Txn};
pub use watch::{Update, Watch, WatchControl, Watcher};

/// The generated messages of the wire, into which responses turn by `into_wire`. They belong to the
/// code generator: a new version of it may change them at any time.
#[cfg(feature = "wire")]
pub mod wire {
    pub use tenure_proto::{etcdserverpb, mvccpb, v1};
}

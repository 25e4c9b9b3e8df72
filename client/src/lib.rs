//! Client for the tenure coordination service and for other servers of the etcd v3 API.
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
//! // Keys are in one ordered key space; every change of the store has its own revision.
//! client.put("config/mode", "fast").await?;
//! let configuration = client.get(KeyRange::prefix("config/")).await?;
//! println!("{} keys", configuration.count());
//!
//! // A lock has a fencing token: guarded writes are refused once the lock is lost.
//! let guard = client.locks().acquire("jobs/42").ttl(Duration::from_secs(5)).await?;
//! guard.guarded().put("state/jobs/42", "running").await?;
//! guard.release().await?;
//!
//! // A key on a lease is deleted when the lease is no longer renewed.
//! let lease = client.leases().grant(Duration::from_secs(10)).await?;
//! let alive = client.leases().keep_alive(lease.id()).await?;
//! client.put("instances/a", "10.0.0.9:80").lease(lease.id()).await?;
//! println!("lost: {}", alive.lost().await);
//! # Ok(())
//! # }
//! ```
//!
//! Requests are builders: options are methods, and awaiting the builder sends the request.
//! Responses are types of this crate.
//!
//! # Overview
//!
//! Keys are read, written and watched on the [`Client`] itself: [`get`](Client::get),
//! [`put`](Client::put), [`delete`](Client::delete), [`txn`](Client::txn),
//! [`watch`](Client::watch). All other APIs are grouped:
//!
//! | | |
//! |---|---|
//! | [`client.leases()`](Leases) | leases: grant, renew, revoke |
//! | [`client.locks()`](Locks) | locks with fencing tokens, inspection of their queues |
//! | [`client.elections()`](Elections) | leader election |
//! | [`client.registry()`](Registry) | service registration and discovery |
//! | [`client.sessions()`](Sessions) | exactly-once writes |
//! | [`client.fence_policies()`](fence::FencePolicies) | prefixes protected by a lock |
//! | [`client.recipes()`](Recipes) | barriers, latches, counters, queues |
//! | [`client.cluster()`](Cluster) | membership |
//! | [`client.access()`](Access) | users, roles and permissions |
//! | [`client.maintenance()`](Maintenance) | status, compaction, alarms, hashes, snapshots |
//! | [`client.namespace(prefix)`](Namespace) | the keys below a prefix, named without it |
//! | [`client.cached(prefix)`](PrefixCache) | the keys below a prefix, kept in memory |
//! | [`client.stm()`](Stm) | software transactional memory |
//!
//! The handles of locks and leaders report a loss before the server may grant the claim to another
//! client; [`fence`] checks fencing tokens for data outside of the store.
//!
//! # Reliability
//!
//! * Every call has a deadline: five seconds, or the one set by [`ClientBuilder::timeout`],
//!   [`Client::with_timeout`] or the request. The server receives it.
//! * When an endpoint cannot be reached, the client uses another one; a circuit breaker skips
//!   endpoints after repeated connection failures ([`ClientBuilder::breaker`]).
//! * Retries: reads when a server is unavailable, any call that was certainly not executed. Pauses
//!   grow exponentially with jitter or follow the server's hint; a call makes at most twelve
//!   attempts ([`ClientBuilder::attempts_max`]) within a budget shared by clones
//!   ([`ClientBuilder::retry_budget`]). Hedging of slow reads is optional
//!   ([`ClientBuilder::hedge`]).
//! * A write whose response is lost is not retried, because it may have been executed: the error
//!   reports an unknown outcome ([`Error::outcome_unknown`]). In a [`Session`], with
//!   [`ClientBuilder::exactly_once`], or with an idempotency key it is retried and takes effect
//!   once.
//! * Watches resume after a broken connection, without gaps or duplicates ([`Watcher`]). Leases are
//!   renewed on a separate connection, and a loss is reported before the server may expire the
//!   lease ([`KeepAlive`]).
//! * A write that carries a [`Guard`] takes effect only while its token holds; [`Client::guarded`]
//!   adds guards to every write.
//! * Metrics ([`Client::metrics`]), and a `tracing` span named `tenure.call` for every call, with
//!   `method`, `attempt`, `endpoint` and `outcome`.
//!
//! # Security
//!
//! Endpoints that begin with `https://` are reached over TLS, and the server's certificate is
//! verified with the authorities of the system, or with those given to [`ClientBuilder::tls`],
//! which also takes a certificate of the client. An error says why a connection could not be
//! secured: [`Error::tls_failure`].
//!
//! # Features
//!
//! The feature `default` turns on `tls`; all others are off.
//!
//! | feature | content |
//! |---|---|
//! | `tls` | connections over TLS, with rustls |
//! | `discovery` | load balancing of gRPC calls over registered instances |
//! | `fence-http` | a `tower` layer that checks fencing tokens |
//! | `fence-axum` | an `axum` extractor that checks fencing tokens |
//! | `srv` | finding the endpoints by SRV records of DNS: `SrvDiscovery` |
//! | `serde` | values as JSON: `Client::put_json`, `KeyValue::json` |
//! | `wire` | the generated protobuf messages, not covered by semantic versioning |
//! | `fence-sqlite` | only tests of [`fence::SqlFence`] on SQLite |
//!
//! Rust 1.89 or later.

#![deny(missing_docs)]

mod access;
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
#[cfg(feature = "tls")]
mod secure;
mod session;
#[cfg(feature = "srv")]
mod srv;
mod stm;
#[cfg(feature = "tls")]
mod tls;
mod txn;
mod watch;

pub use access::Access;
pub use breaker::BreakerState;
pub use cache::{CacheView, Cached, PrefixCache};
pub use claim::{ClaimLoss, QueuePlace};
pub use client::Client;
pub use cluster::{Cluster, Members};
pub use conditions::Guard;
pub use config::ClientBuilder;
pub use election::{Campaign, Election, Elections, Leader, Leadership, Observer};
pub use endpoint::IntoEndpoints;
pub use error::{Error, ErrorKind, TlsFailure};
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
    Barrier, Counter, CounterValue, DeadLetter, Delivery, DoubleBarrier, DoubleBarrierGuard, Latch,
    Queue, Recipes,
};
#[cfg(feature = "discovery")]
pub use registry::{BalanceOptions, Balanced, Balancer};
pub use registry::{
    Discover, EndpointChange, EndpointView, EndpointWatch, Instance, KeptRegistration, Register,
    Registration, Registry, Resolver, Selector, WatchEndpoints,
};
pub use response::{
    AccessStatus, Alarm, AlarmKind, Claim, ClaimMode, DeleteResponse, Discovered, Event,
    FencePolicy, GetResponse, Header, HistoryHash, InstanceEndpoint, KeyValue, Lease,
    LeaseTimeToLive, List, LockList, LockQueue, LogEnd, LoggedMember, Member, MemberAdded,
    MemberRole, OpResponse, Permission, PermissionKind, PutResponse, Readiness, RegisteredInstance,
    Role, SessionState, SnapshotPiece, Status, StoreHash, TokenCheck, TxnResponse, User,
};
pub use session::{Session, Sessions};
#[cfg(feature = "srv")]
pub use srv::SrvDiscovery;
pub use stm::{Stm, StmTxn};
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use tonic::Code;
pub use txn::{Compare, Op, Relation, Txn};
pub use watch::{Update, Watch, WatchControl, Watcher};

/// The generated protobuf messages, into which responses convert by `into_wire`. They are not
/// covered by semantic versioning: a new version of the code generator may change them.
#[cfg(feature = "wire")]
pub mod wire {
    pub use tenure_proto::{API_VERSION, authpb, etcdserverpb, limits, mvccpb, v1};
}

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
//! println!("{} keys", configuration.count);
//!
//! // A key on a lease is deleted when its owner stops renewing.
//! let lease = client.lease_grant(Duration::from_secs(10)).await?;
//! let alive = client.lease_keep_alive(lease.id).await?;
//! client.put("instances/a", "10.0.0.9:80").lease(lease.id).await?;
//! println!("lost: {}", alive.lost().await);
//! # Ok(())
//! # }
//! ```
//!
//! # What the client does by itself
//!
//! * Every call has a deadline: five seconds, or the one set by [`ClientBuilder::timeout`],
//!   [`Client::with_timeout`] or the request.
//! * An endpoint that cannot be reached is left for another one. Reads are repeated when a server
//!   is unavailable, after growing, random pauses, a bounded number of times.
//! * A write is sent at most once. When its answer is lost the error says so:
//!   [`Error::outcome_unknown`].
//! * Watches go on after a break where they stopped ([`Watcher`]), leases are renewed on a
//!   connection of their own ([`KeepAlive`]).
//!
//! Requests are builders: options are methods, and the request is sent when it is awaited. Answers
//! are the messages of the wire ([`wire`]).

#![deny(missing_docs)]

mod auth;
mod channel;
mod client;
mod cluster;
mod config;
mod error;
mod id;
mod kv;
mod lease;
mod maintenance;
mod range;
mod range_stream;
mod retry;
mod txn;
mod watch;

pub use client::Client;
pub use cluster::{Freshness, MemberRole};
pub use config::ClientBuilder;
pub use error::{Error, ErrorKind};
pub use id::{LeaseId, MemberId, Revision};
pub use kv::{Compact, Delete, Get, Put, SortOrder, SortTarget};
pub use lease::{Grant, KeepAlive, LeaseLoss};
pub use maintenance::Snapshot;
pub use range::{IntoBytes, KeyRange, prefix_end};
pub use range_stream::RangeStream;
pub use tonic::Code;
pub use txn::{Compare, Op, Relation, Txn};
pub use watch::{Update, Watch, WatchControl, Watcher};

/// The messages of the wire, as the server sends them.
pub mod wire {
    pub use tenure_proto::{etcdserverpb, mvccpb};
}

//! The same requests to etcd itself and to tenure: what they answer is the same, to the text of an
//! error and the revision in a header.
//!
//! Where it is not, `known` says so and why; nothing else is let through. Without an etcd to ask
//! these tests say that they were skipped.

mod alarms;
pub(crate) mod ask;
mod claims;
mod compaction;
mod generator;
pub(crate) mod known;
mod kv;
mod lease;
pub(crate) mod pair;
mod random;
pub(crate) mod requests;
mod txn;
mod watch;
mod watching;
pub(crate) mod wire;

//! The gRPC services of the client port: etcd's, tenure's own, health and reflection.
//!
//! Handlers turn wire into commands and queries and back; what they need of the node is one trait,
//! [`backend::Backend`].

mod acquire;
mod answer;
mod auth;
pub mod backend;
mod bulk;
mod call;
mod chunks;
mod claim;
mod cluster;
mod conditions;
mod delivery;
mod election;
mod etcd_election;
mod etcd_lock;
mod etcds_words;
pub(crate) mod failure;
mod fence;
mod field;
mod foreign_keys;
mod freshness;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod names;
mod nesting;
mod overlap;
mod refusal;
mod registry;
pub(crate) mod reply;
mod request;
mod routes;
mod services;
mod session;
pub(crate) mod status;
mod watch;
mod withdraw;

#[cfg(test)]
pub(crate) mod fake;

pub(crate) use self::status::Reason;
pub use self::{
    etcds_words::EtcdsWords,
    routes::routes,
    services::{Limits, Services},
};

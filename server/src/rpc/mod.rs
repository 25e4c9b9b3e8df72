//! The gRPC services of the client port: etcd's, health and reflection.
//!
//! Handlers turn wire into commands and queries and back; what they need of the node is one trait,
//! [`backend::Backend`]. Locks and elections of etcd are not registered, so gRPC itself answers
//! for them.

mod auth;
pub mod backend;
mod call;
mod chunks;
mod cluster;
mod health;
mod kv;
mod lease;
mod maintenance;
mod overlap;
pub(crate) mod reply;
mod request;
mod routes;
mod services;
pub(crate) mod status;
mod watch;

#[cfg(test)]
pub(crate) mod fake;

pub use self::{
    routes::routes,
    services::{Limits, Services},
};

//! The gRPC services of the client port: etcd's, tenure's own, health and reflection, and the
//! gateway that serves them as JSON.
//!
//! Handlers turn wire into commands and queries and back; what they need of the node is one trait,
//! [`Replica`](crate::node::Replica).

mod admission;
mod answer;
mod border;
mod call;
mod calls;
mod claim;
mod etcd;
mod gateway;
mod health;
mod limits;
mod routes;
mod services;
mod tenure;

#[cfg(test)]
pub(crate) mod fake;

pub(crate) use self::{answer::status::Reason, gateway::Serves};
pub use self::{
    calls::CallsLayer,
    etcd::wording::EtcdsWords,
    gateway::{Access, GatewayLayer},
    limits::Limits,
    routes::routes,
    services::Services,
};

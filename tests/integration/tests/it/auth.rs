//! Users, roles and permissions on real nodes: who may call what, on every service.

mod advisories;
mod beside_etcd;
mod certified;
mod ctl;
mod documented;
mod evasion;
mod following;
mod jwt;
mod log_in;
mod outliving;
mod queueing;
mod refused;
mod setup;
mod snapshots;
mod storm;
mod successors;
mod table;
mod tenurectl;
mod watching;

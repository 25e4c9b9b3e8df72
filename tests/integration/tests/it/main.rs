//! What users are promised, checked on real processes: one binary, one module per promise.
//!
//! Every test starts its own nodes on free ports and is bounded in time and load, so that several
//! can run side by side on two cores.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "every line here is a test's or a test's helper's, and what they measure is printed"
)]

mod audit;
mod auth;
mod backup;
mod bad_claims;
mod bad_input;
mod bursts;
mod catch_up;
mod corruption;
mod crash;
mod crowding;
mod damage;
mod damaged_snapshot;
mod damaged_state;
mod delayed_packets;
mod deploy;
mod differential;
mod digests;
mod discovery;
mod disk;
mod etcd_client;
mod etcdctl;
mod exactly_once;
mod failover;
mod fencing;
mod freshness;
mod gateway;
mod history;
mod identity;
mod key_views;
mod large_backup;
mod leadership;
mod leases;
mod locks;
mod log_damage;
mod maintenance;
mod membership;
mod membership_by_command;
mod membership_faults;
mod moving;
mod pages;
mod peers;
mod power_loss;
mod price;
mod quorum;
mod quorum_lost;
mod read_index;
mod readme;
mod recipes;
mod refusals;
mod registering;
mod rolling_restart;
mod slow_disk;
mod space;
mod srv_records;
mod startup;
mod tls;
mod upgrade;
mod watches;
mod wills;
mod writers;

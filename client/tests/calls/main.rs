//! The client against servers in the same process that break off, stay silent or forget at the
//! worst moment: what takes effect, how often, and what the caller is told. No server of tenure or
//! etcd is needed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod exactly_once;
mod fake;
mod guards;
mod resilience;
mod sessions;
mod telemetry;

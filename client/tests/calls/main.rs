//! The client against servers in the same process that break off, stay silent or forget at the
//! worst moment: what takes effect, how often, and what the caller is told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod exactly_once;
#[path = "../../src/fake/mod.rs"]
#[expect(dead_code, reason = "the unit tests of the client use the rest")]
mod fake;
mod guards;
mod login;
mod resilience;
mod sessions;
mod telemetry;

// As the module of the fake server finds them in the client itself.
use tenure::{Client, ClientBuilder};

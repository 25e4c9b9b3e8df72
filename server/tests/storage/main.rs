//! The stores against their contracts: openraft's suite, the engine's conformance, and crashes.

#![expect(
    clippy::unwrap_used,
    reason = "a store that cannot be set up has failed the test, in whichever function"
)]

mod conformance;
mod crash;
mod store;
mod suite;

//! The stores against their contracts: openraft's suite, the engine's conformance, and crashes.

mod conformance;
mod crash;
mod store;
mod suite;

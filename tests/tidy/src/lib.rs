//! The house rules as functions: each takes text and returns what breaks a rule, as lines to read.
//!
//! Not a linter for what rustc and clippy already see. `tests/tree.rs` runs every rule over this
//! checkout; the tests beside each rule give it samples that it must object to, so that none can
//! rot into one that always agrees.

pub mod boundary;
pub mod clippy;
pub mod code;
pub mod document;
pub mod form;
pub mod layers;
pub mod packages;
pub mod readme;
pub mod signature;
pub mod tree;

//! What commands that copy between clusters share: reading a range at a revision, changes by
//! revision, leases, lag, comparison.
//!
//! It prints nothing but messages about what takes long.

mod comparison;
mod connection;
mod lag;
mod leases;
mod pages;
mod patience;
mod revisions;

pub(crate) use comparison::{Mapping, compare};
pub(crate) use connection::{Role, destination};
pub(crate) use lag::{Head, Lag};
pub(crate) use leases::LeaseCopy;
pub(crate) use pages::{Pages, key_after, order};
pub(crate) use patience::{is_passing, patiently, read_patiently};
pub(crate) use revisions::{RevisionChanges, by_revision};

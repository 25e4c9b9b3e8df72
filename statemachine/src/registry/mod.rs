//! Registrations: instances of services as keys, their incarnations, readiness and drains, and the
//! brake that keeps a service whose instances seem to go all at once.
//!
//! An instance is alive while its lease is, so most of its end is the lease's business. Invariant:
//! a service is never kept for ever: no lease is held longer than [`brake::BRAKE_MAX`] without a
//! renewal.

mod brake;
mod brake_row;
mod check;
mod drain;
mod fields;
mod instance;
mod read;

pub(crate) use self::{brake_row::is_any_held, check::check};

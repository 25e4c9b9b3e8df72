//! Registrations: instances of services as keys, their incarnations, readiness and drains, and the
//! mass-expiry guard, which holds a service whose instances seem to go all at once.
//!
//! An instance is alive while its lease is, so most of its end is the lease's business. Invariant:
//! no service is held for ever: no lease is held longer than [`mass_expiry::HOLD_MAX`] without a
//! renewal.

mod check;
mod drain;
mod fields;
mod instance;
mod mass_expiry;
mod mass_expiry_row;
mod read;

pub(crate) use self::{check::check, mass_expiry_row::is_any_held};

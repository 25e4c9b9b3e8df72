//! Registrations: instances of services as keys, their incarnations, readiness and drains, and the
//! mass-expiry guard, which holds a service whose instances seem to expire all at once.
//!
//! An instance is alive while its lease is, so leases handle most of its end. Invariant: no lease
//! is held longer than [`mass_expiry::HOLD_MAX`] without a renewal, so no service is held for ever.

mod check;
mod drain;
mod fields;
mod instance;
mod mass_expiry;
mod mass_expiry_row;
mod read;

pub(crate) use self::{check::check, mass_expiry_row::is_any_held};

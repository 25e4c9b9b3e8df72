//! Samples of everything whose bytes are stored.

pub(crate) mod commands;
mod coordination;
pub(crate) mod outcomes;
pub(crate) mod state;
pub(crate) mod users;

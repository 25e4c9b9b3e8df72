//! The database as a format: what is written is read back, and what is damaged is found.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod free_pages;
mod hostile;
mod passes;
mod read_back;
mod round_trip;
#[path = "../written.rs"]
mod written;

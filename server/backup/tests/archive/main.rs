//! Archives: segments that are cut and damaged, and snapshots of any revision made from them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod damage;
mod history;
mod points;
#[expect(dead_code, reason = "archives have no checksum behind the database")]
#[path = "../written.rs"]
mod written;

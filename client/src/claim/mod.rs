//! Claims, the common basis of locks, elections, registrations and recipes.
//!
//! A claim is a key on the lease of a session, with a place in a queue. This module acquires,
//! watches, releases and withdraws claims; the modules above define the requests and the public
//! handles. The server decides which claim holds.

mod acquisition;
mod held;
mod options;
mod session;
mod termination;
mod withdrawal;

pub use acquisition::QueuePlace;
pub(crate) use acquisition::{ClaimRecord, ClaimState, StreamedClaimRequest};
pub(crate) use held::{HeldClaims, held_claim_methods};
pub(crate) use options::ClaimOptions;
pub(crate) use session::{ClaimSession, SessionChoice};
pub use termination::ClaimLoss;
pub(crate) use termination::Termination;
pub(crate) use withdrawal::{ClaimRequest, Withdrawal};

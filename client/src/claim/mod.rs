//! Claims: what locks, elections, registrations and recipes have in common.
//!
//! A claim is a key on the lease of a session, with a place in a queue. Here a claim is acquired,
//! watched, and released or withdrawn; which request makes it, and what it is called for users, is
//! known to the modules above. The server decides which claim holds.

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

//! The key space: writing it, reading ranges of it, and transactions.
//!
//! Not its past, which is in `history/`.

mod change;
mod check;
mod select;
mod txn;

pub(crate) use self::{
    change::{Change, live_bytes},
    check::check_put,
};

//! The key space: writes, range reads, and transactions. Its past is in `history/`.

mod change;
mod check;
mod select;
mod txn;

pub(crate) use self::{
    change::{Change, live_bytes},
    check::check_put,
};

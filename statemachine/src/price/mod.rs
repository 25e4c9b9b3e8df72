//! Costs and bounds of commands: rows and bytes of one command, and replies of one log entry.

mod answers;
mod budget;

pub(crate) use self::{
    answers::EntryAnswers,
    budget::{Budget, WILL_ROWS_MAX, claim_bytes_of},
};

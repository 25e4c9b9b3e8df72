//! What a command may cost: rows and bytes of one command, and answers of one log entry.

mod answers;
mod budget;

pub(crate) use self::{
    answers::EntryAnswers,
    budget::{Budget, WILL_ROWS_MAX, claim_bytes_of},
};

//! The only way to end the process on a fault.
//!
//! A node that failed to write, or whose state violates an invariant, must not answer another
//! request, since clients would trust the answer.

use std::{error::Error, process};

use tracing::error;

/// Formats an error with its sources, in one line.
#[must_use]
pub fn chain(cause: &dyn Error) -> String {
    let mut chain = cause.to_string();
    let mut source = cause.source();
    while let Some(next) = source {
        chain.push_str(": ");
        chain.push_str(&next.to_string());
        source = next.source();
    }
    chain
}

/// Logs `cause` with its chain and ends the process at once, without unwinding.
pub fn stop(cause: &dyn Error) -> ! {
    error!(cause = %chain(cause), "fatal: the node stops");
    process::abort();
}

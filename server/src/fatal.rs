//! The one way this process ends when it must not go on.
//!
//! A node that could not write, or that holds what cannot be true, must not answer another
//! request: what it says would be trusted.

use std::{error::Error, process};

use tracing::error;

/// An error and what caused it, in one line.
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

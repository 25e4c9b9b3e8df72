//! Ways round the permissions, tried one after the other: none leads anywhere.

mod connections;
mod keys;
mod names;
mod owned;
mod tokens;

use tonic::{Code, Status};

/// Refused because the user may not.
fn denied<T>(answer: Result<T, Status>) {
    let found = answer.map(drop).map_err(|status| status.code());
    assert_eq!(found, Err(Code::PermissionDenied));
}

/// Refused with this text.
fn refused<T>(answer: Result<T, Status>, text: &str) {
    let found = answer.map(drop).map_err(|it| it.message().to_owned());
    assert_eq!(found, Err(text.to_owned()));
}

const NOBODY: &str = "etcdserver: user name is empty";
const BAD_TOKEN: &str = "etcdserver: invalid auth token";

//! The encoding of log entries: entries consist of groups, groups of commands.
//!
//! Groups and entries are encoded here. The encodings of commands and outcomes are declared beside
//! their types, with the primitives of `encoding`.
//!
//! Invariant: decoding inverts encoding; see `encoding`.

mod group;

pub use self::group::{
    Entry, Group, check_entry, check_group, decode_entry, decode_group, encode_command,
    encode_entry, encode_group, encode_repeatable_group, group_of,
};
pub use crate::{
    command::is_encodable,
    encoding::{ENTRY_BYTES_MAX, TXN_DEPTH_MAX},
    outcome::{decode_outcome, encode_outcome},
};

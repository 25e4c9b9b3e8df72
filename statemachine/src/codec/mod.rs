//! How values become bytes and bytes become values: what a log entry carries, what rows of the
//! state hold, and what a mutation came to, for when it is repeated.
//!
//! Here are the primitives, an `Encoder` and a `Decoder`, and the bytes of groups and entries. The
//! bytes of every other type are declared beside the type, both directions at once: `record!` and
//! `choice!` declare those of commands and outcomes, `row!` those of rows of numbers; a type of
//! another shape implements `Encoded` or `Row`.
//!
//! Invariant: decoding inverts encoding. Whatever the bytes are, decoding ends, without panic and
//! without allocating more than a small multiple of their length, and yields what was encoded or a
//! fault. Bytes left over, unknown tags and flags, and numbers in more bytes than they need are
//! faults: one value has one encoding. Tags are stored and never reused.

mod decoder;
mod encoded;
mod encoder;
mod group;
mod row;

pub use self::group::{
    Entry, Group, check_entry, check_group, decode_entry, decode_group, encode_command,
    encode_entry, encode_group, encode_repeatable_group, group_of,
};
#[cfg(test)]
pub(crate) use self::row::tests::assert_exact;
pub(crate) use self::{
    decoder::{Decoder, Malformed},
    encoded::{Encoded, choice, newtype, or_none, record, text},
    encoder::{Encoder, flags, length_of_number},
    row::{Fixed, Row, row},
};
pub use crate::{
    command::is_encodable,
    outcome::{decode_outcome, encode_outcome},
};

/// How many transactions may lie within each other. A request can hold fewer: etcd's own decoder
/// stops at a hundred nested messages, and a transaction takes two.
pub const TXN_DEPTH_MAX: usize = 64;

/// Longest entry or group, in bytes. Far above what a proposal may hold (a few requests of 1.5 MiB
/// each), and low enough that no length computed from it overflows.
pub const ENTRY_BYTES_MAX: usize = 256 * 1024 * 1024;

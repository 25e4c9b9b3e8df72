//! The primitives of every encoding, in both directions.
//!
//! `Encoder` and `Decoder`, and the macros `record!`, `choice!` and `newtype!`. The encoding of a
//! type is declared beside the type, both directions at once; a type of another shape implements
//! `Encoded`. Values of rows are `Row`s, in `rows/row.rs`; groups and entries are in `codec/`.
//!
//! Invariant: decoding inverts encoding. For any bytes, decoding ends, without panic and without
//! allocating more than a small multiple of their length, and yields the encoded value or a fault.
//! Bytes left over, unknown tags and flags, and numbers in more bytes than they need are faults:
//! one value has one encoding. Tags are stored and never reused.

mod decoder;
mod encoded;
mod encoder;
mod fixed;

pub(crate) use self::{
    decoder::{Decoder, Malformed},
    encoded::{Encoded, choice, newtype, or_none, record, text},
    encoder::{Encoder, flags, length_of_number},
    fixed::Fixed,
};

/// Most transactions nested within each other. A request can hold fewer: etcd's own decoder stops
/// at a hundred nested messages, and a transaction takes two.
pub const TXN_DEPTH_MAX: usize = 64;

/// Longest entry or group, in bytes. Far above what a proposal may hold (a few requests of 1.5 MiB
/// each), and low enough that no length computed from it overflows.
pub const ENTRY_BYTES_MAX: usize = 256 * 1024 * 1024;

//! Rows of the state, between the engine, to which they are bytes, and what the service keeps in
//! them: their keys, families and values, and the writes of a batch over an engine.
//!
//! Not what a family of commands does with its rows: that is in the family's module.

pub(crate) mod family;
pub(crate) mod keys;
mod merge;
mod overlay;
pub(crate) mod record;
mod row;

#[cfg(test)]
pub(crate) use self::row::tests::assert_exact;
pub(crate) use self::{
    family::Family,
    overlay::Overlay,
    record::{HEADER_LEN, Record},
    row::{Row, row},
};

/// Rows that a delete reads before it deletes them.
pub(crate) const SLICE_ROWS_MAX: usize = 1024;

/// Bytes of rows that a delete reads before it deletes them, and the last row whole: what it holds
/// at once, however large the values are.
pub(crate) const SLICE_BYTES_MAX: usize = 1024 * 1024;

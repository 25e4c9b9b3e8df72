//! The rows of the state, between the engine, to which they are bytes, and the service: their keys,
//! families and values, and the writes of a batch over an engine.
//!
//! The use of rows is in the module of each family of commands.

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

/// Most rows that a delete reads before it deletes them.
pub(crate) const SLICE_ROWS_MAX: usize = 1024;

/// Most bytes of rows that a delete reads before it deletes them, apart from the last row: bounds
/// the memory in use, however large the values are.
pub(crate) const SLICE_BYTES_MAX: usize = 1024 * 1024;

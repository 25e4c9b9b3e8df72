//! What each client has of the idempotency keys that are remembered.
//!
//! Invariant: a client that has keys has a row, and it counts them and the bytes of their outcomes;
//! one that has none has no row.

use bytes::{BufMut, Bytes};

use crate::{
    engine::{Table, View},
    error::{Fault, damaged},
    rows::{self, Family, Overlay, Row, keys::split_u64},
};

/// The keys of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// How many.
    pub(super) keys: u64,
    /// How much their outcomes take, in bytes.
    pub(super) bytes: u64,
}

fn row_of(client: u64) -> Bytes {
    let mut row = Family::ClientKeys.row(8);
    row.put_u64(client);
    row.freeze()
}

/// The client of a row, if it is of one.
pub(super) fn read_row(row: &[u8]) -> Result<Option<u64>, Fault> {
    match Family::ClientKeys.rest(row) {
        Some(client) => match split_u64(client) {
            Some((client, [])) => Ok(Some(client)),
            _ => Err(damaged("row of a client is not of its length")),
        },
        None => Ok(None),
    }
}

rows::row! { Share { keys, bytes }, "share of a client is not of its length" }

impl Share {
    pub(super) fn load(view: &dyn View, client: u64) -> Result<Self, Fault> {
        let share = Self::find(view, Table::Cluster, &row_of(client))?;
        Ok(share.unwrap_or_default())
    }

    pub(super) fn save(self, overlay: &mut Overlay, client: u64) {
        if self.keys == 0 {
            overlay.delete(Table::Cluster, row_of(client));
        } else {
            overlay.put(Table::Cluster, row_of(client), self.encode());
        }
    }
}

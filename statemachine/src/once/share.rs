//! Each client's share of the remembered idempotency keys.
//!
//! Invariant: a client with keys has a row, which counts them and the bytes of their outcomes; a
//! client without keys has none.

use bytes::{BufMut, Bytes};

use crate::{
    engine::{Table, View},
    error::{Fault, damaged},
    rows::{self, Family, Overlay, Row, keys::split_u64},
};

/// The counters of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Number of keys.
    pub(super) keys: u64,
    /// Size of their outcomes, in bytes.
    pub(super) bytes: u64,
}

fn row_of(client: u64) -> Bytes {
    let mut row = Family::ClientKeys.row(8);
    row.put_u64(client);
    row.freeze()
}

/// Returns the client of a row, if the row is a client's.
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

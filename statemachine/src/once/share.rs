//! What each client has of the idempotency keys that are remembered.
//!
//! Invariant: a client that has keys has a row, and it counts them and the bytes of their outcomes;
//! one that has none has no row.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    engine::{Table, View},
    error::Fault,
    family::Family,
    keys::{damaged, split_u64},
    overlay::Overlay,
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

impl Share {
    pub(super) fn load(view: &dyn View, client: u64) -> Result<Self, Fault> {
        let row = view.get(Table::Cluster, &row_of(client))?;
        row.map_or_else(|| Ok(Self::default()), |row| Self::decode(&row))
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Fault> {
        let parsed = (|| {
            let (keys, rest) = split_u64(row)?;
            let (bytes, rest) = split_u64(rest)?;
            rest.is_empty().then_some(Self { keys, bytes })
        })();
        parsed.ok_or_else(|| damaged("share of a client is not of its length"))
    }

    pub(super) fn save(self, overlay: &mut Overlay, client: u64) {
        if self.keys == 0 {
            return overlay.delete(Table::Cluster, row_of(client));
        }
        let mut row = BytesMut::with_capacity(16);
        row.put_u64(self.keys);
        row.put_u64(self.bytes);
        overlay.put(Table::Cluster, row_of(client), row.freeze());
    }
}

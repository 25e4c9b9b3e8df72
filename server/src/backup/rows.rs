//! The rows of the bucket `tenure`, and what of the cluster a snapshot names.
//!
//! A row of the state is a row of the bucket under its number: keys of the state may be longer than
//! those of a snapshot file may be.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tenure_backup::schema::Member;
use tenure_statemachine::{MemberId, Table, restore::Restore};

/// Bytes before the key in a row's value: the table, and the length of the key.
const HEAD_BYTES: usize = 5;

/// What a snapshot says of the cluster that it was made of.
#[derive(Clone, Debug, Default)]
pub struct ClusterFacts {
    /// The members.
    pub members: Vec<Member>,
    /// The ids of members that were removed.
    pub removed: Vec<MemberId>,
}

/// Key of the row with this number in the bucket `tenure`.
pub(super) fn numbered(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Encodes a row of the state into `out`.
pub(super) fn encode(out: &mut BytesMut, table: Table, key: &[u8], value: &[u8]) {
    out.clear();
    out.put_u8(table as u8);
    // No key of the state has four gigabytes; a request is far smaller.
    out.put_u32(u32::try_from(key.len()).unwrap_or(u32::MAX));
    out.put_slice(key);
    out.put_slice(value);
}

/// Decodes the output of [`encode`].
pub(super) fn decode(mut row: Bytes) -> Option<(Table, Bytes, Bytes)> {
    if row.len() < HEAD_BYTES {
        return None;
    }
    let ordinal = row.get_u8();
    let table = Restore::KEPT.into_iter().find(|it| *it as u8 == ordinal)?;
    let length = usize::try_from(row.get_u32()).ok()?;
    if row.len() < length {
        return None;
    }
    let key = row.split_to(length);
    Some((table, key, row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_decoded_as_it_was_encoded_and_cut_ones_are_refused() {
        let mut out = BytesMut::new();
        encode(&mut out, Table::Cluster, b"key", b"value");
        let row = out.clone().freeze();
        let expected = (Table::Cluster, Bytes::from("key"), Bytes::from("value"));
        assert_eq!(decode(row.clone()), Some(expected));
        for length in 0..HEAD_BYTES + 3 {
            assert_eq!(decode(row.slice(..length)), None, "of {length} bytes");
        }
        encode(&mut out, Table::Current, b"key", b"value");
        assert_eq!(decode(out.freeze()), None, "a table that is not kept");
    }
}

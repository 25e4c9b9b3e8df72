//! The keys of the bucket `key`: revisions, in an order that is the order of bytes.

use bytes::{BufMut, Bytes, BytesMut};
use tenure_statemachine::Revision;

const SEPARATOR: u8 = b'_';
const TOMBSTONE: u8 = b't';
const BYTES_MAX: usize = 18;

/// One change of one key: its revision, and its place among the changes of that revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RevisionKey {
    /// The revision.
    pub main: Revision,
    /// The place in the transaction, from zero.
    pub sub: i64,
    /// Whether the key was deleted.
    pub is_tombstone: bool,
}

impl RevisionKey {
    /// Returns the key of the row.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut key = BytesMut::with_capacity(BYTES_MAX);
        key.put_i64(self.main.0);
        key.put_u8(SEPARATOR);
        key.put_i64(self.sub);
        if self.is_tombstone {
            key.put_u8(TOMBSTONE);
        }
        key.freeze()
    }

    /// Parses the key of a row; `None` for what is no revision. Revisions are not negative.
    #[must_use]
    pub fn decode(key: &[u8]) -> Option<Self> {
        let (main, rest) = key.split_first_chunk()?;
        let (separator, rest) = rest.split_first()?;
        let (sub, mark) = rest.split_first_chunk()?;
        let is_tombstone = match mark {
            [] => false,
            [TOMBSTONE] => true,
            _ => return None,
        };
        let (main, sub) = (i64::from_be_bytes(*main), i64::from_be_bytes(*sub));
        let valid = *separator == SEPARATOR && main >= 0 && sub >= 0;
        valid.then_some(Self {
            main: Revision(main),
            sub,
            is_tombstone,
        })
    }
}

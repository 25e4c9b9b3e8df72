//! Reading a whole file back, and making a changed one valid.

use bytes::Bytes;
use tenure_backup::bbolt::{Database, ReadError};

use crate::written::Buckets;

/// Reads everything in a database back.
pub(crate) fn read(file: &Bytes) -> Result<Buckets, ReadError> {
    let database = Database::open(file)?;
    let mut found = Buckets::new();
    for bucket in database.buckets() {
        let bucket = bucket?;
        let rows = database.rows(&bucket).map(|row| {
            let row = row?;
            // Copies, so that no page is kept.
            Ok((
                Bytes::copy_from_slice(&row.key),
                Bytes::copy_from_slice(&row.value),
            ))
        });
        let rows = rows.collect::<Result<_, ReadError>>()?;
        found.insert(Bytes::copy_from_slice(bucket.name()), rows);
    }
    Ok(found)
}

/// FNV-1a of 64 bits, the checksum of a meta.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

//! Files that tests write: rows in memory, and the bytes of a database of them.

use std::{collections::BTreeMap, convert::Infallible};

use bytes::{Bytes, BytesMut};
use tenure_backup::{
    bbolt::{CHUNK_BYTES_MAX, Planner, RowSink, Writer},
    file::Hasher,
};

/// Rows by bucket and key.
pub(crate) type Buckets = BTreeMap<Bytes, BTreeMap<Bytes, Bytes>>;

/// Feeds all rows to one pass.
pub(crate) fn feed<K: RowSink>(buckets: &Buckets, sink: &mut K) -> Result<(), K::Error> {
    for (name, rows) in buckets {
        sink.bucket(name)?;
        for (key, value) in rows {
            sink.row(key, value)?;
        }
    }
    Ok(())
}

/// Writes a database, and checks that it has the planned size.
pub(crate) fn write(buckets: &Buckets) -> Bytes {
    let mut planner = Planner::new();
    feed(buckets, &mut planner).expect("rows in order");
    let plan = planner.finish();
    let planned = plan.bytes();
    let mut file = BytesMut::new();
    let sink = |chunk: Bytes| {
        assert!(!chunk.is_empty() && chunk.len() <= CHUNK_BYTES_MAX);
        file.extend_from_slice(&chunk);
        Ok::<_, Infallible>(())
    };
    let mut writer = Writer::begin(plan, sink).expect("taken");
    feed(buckets, &mut writer).expect("the same rows");
    writer.finish().expect("the same rows");
    assert_eq!(file.len() as u64, planned);
    file.freeze()
}

/// Appends the checksum, as a snapshot is saved.
pub(crate) fn sealed(database: &[u8]) -> Bytes {
    let mut hasher = Hasher::default();
    hasher.add(database);
    [database, &hasher.finish().0].concat().into()
}

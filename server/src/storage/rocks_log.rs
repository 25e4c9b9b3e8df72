//! The log of earlier versions: a RocksDB database whose write-ahead file is synced.
//!
//! Read once, for the migration. It keeps no invariant that a node could rely on, because damage to
//! it cannot be distinguished from a write cut short by a crash.

use std::{fs, io, path::Path};

use bytes::Bytes;
use rocksdb::{DB, Direction, IteratorMode, WriteBatch, WriteOptions};

use super::{
    log_disk::{Fact, LogDisk, LogWrite},
    rocks,
};

/// Key prefix of records; the index follows, big-endian.
const RECORD: u8 = b'r';
/// Key prefix of facts.
const FACT: u8 = b'f';

/// The log database of a node.
pub struct RocksLog {
    db: DB,
}

impl std::fmt::Debug for RocksLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksLog").finish_non_exhaustive()
    }
}

impl RocksLog {
    /// Opens the database in `path`, creating it if there is none.
    ///
    /// # Errors
    /// When the files cannot be opened or are damaged.
    pub fn open(path: &Path) -> io::Result<Self> {
        let db = DB::open(&rocks::log_options(), path).map_err(io::Error::other)?;
        Ok(Self { db })
    }
}

impl LogDisk for RocksLog {
    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        for write in writes {
            match write {
                LogWrite::Put(record) => {
                    batch.put(record_key(record.index), record.to_bytes());
                }
                LogWrite::Remove(start, end) => {
                    batch.delete_range(record_key(*start), record_key(*end));
                }
                LogWrite::Fact(fact, value) => batch.put(fact_key(*fact), value),
            }
        }
        self.db
            .write_opt(batch, &WriteOptions::default())
            .map_err(io::Error::other)
    }

    fn sync(&self) -> io::Result<()> {
        self.db.flush_wal(true).map_err(io::Error::other)
    }

    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut iterator = self.db.raw_iterator();
        iterator.seek(record_key(start));
        while let Some((key, value)) = iterator.item() {
            let Some(index) = record_index(key).filter(|index| *index < end) else {
                break;
            };
            if !found.is_empty() && bytes + value.len() > bytes_max {
                break;
            }
            bytes += value.len();
            found.push((index, Bytes::copy_from_slice(value)));
            iterator.next();
        }
        iterator.status().map_err(io::Error::other)?;
        Ok(found)
    }

    fn last_index(&self) -> io::Result<Option<u64>> {
        let from = record_key(u64::MAX);
        let mode = IteratorMode::From(&from, Direction::Reverse);
        match self.db.iterator(mode).next() {
            Some(Ok((key, _))) => Ok(record_index(&key)),
            Some(Err(error)) => Err(io::Error::other(error)),
            None => Ok(None),
        }
    }

    fn fact(&self, fact: Fact) -> io::Result<Option<Vec<u8>>> {
        self.db.get(fact_key(fact)).map_err(io::Error::other)
    }

    fn bytes(&self) -> u64 {
        let files = fs::read_dir(self.db.path()).into_iter().flatten().flatten();
        let sizes = files.filter_map(|file| file.metadata().ok());
        sizes.map(|metadata| metadata.len()).sum()
    }
}

fn record_key(index: u64) -> [u8; 9] {
    let mut key = [RECORD; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn record_index(key: &[u8]) -> Option<u64> {
    let (&prefix, index) = key.split_first()?;
    (prefix == RECORD).then_some(u64::from_be_bytes(index.try_into().ok()?))
}

const fn fact_key(fact: Fact) -> [u8; 2] {
    match fact {
        Fact::Vote => [FACT, b'v'],
        Fact::Committed => [FACT, b'c'],
        Fact::Purged => [FACT, b'p'],
    }
}

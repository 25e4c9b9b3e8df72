//! Opening of a node's log: creates a new one, opens an existing one, or migrates an old one.
//!
//! Earlier versions kept the log in a RocksDB database in the same directory. Invariant: the log's
//! directory is complete at every moment. A new log is built beside it and replaces it by renaming,
//! so a crash leaves the old log or the new one, and the next start continues from there.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tracing::info;

use super::{
    data_dir::sync_dir,
    log_disk::{ENTRY_HEAD, Fact, LogDisk, LogRecord, LogWrite},
    rocks_log::RocksLog,
    segment_log::{DiskFiles, LogFiles, LogOptions, LogOwner, SegmentLog},
};

/// A file that every RocksDB database has, and no segmented log.
const ROCKSDB_FILE: &str = "CURRENT";

/// Bytes of entries migrated at once.
const MOVED_BYTES: usize = 4 << 20;

const FACTS: [Fact; 3] = [Fact::Vote, Fact::Committed, Fact::Purged];

/// Opens the log of `owner` in `path`, whose parent exists.
///
/// # Errors
/// When the log is damaged, incomplete or belongs to another owner, or the disk fails.
pub fn open_log(path: &Path, owner: LogOwner) -> io::Result<SegmentLog> {
    let (built, replaced) = (path.with_extension("new"), path.with_extension("old"));
    if !path.exists() && replaced.exists() {
        // A crash between two renames: the old log is still complete, and is migrated again.
        rename(&replaced, path)?;
    }
    // Leftovers: an unfinished new log, or the replaced old log. The replacement is made durable
    // before the old log is removed.
    sync_parent(path)?;
    remove(&built)?;
    remove(&replaced)?;
    let options = LogOptions::STANDARD;
    if !path.exists() {
        create(&built, owner, options)?;
        rename(&built, path)?;
    } else if path.join(ROCKSDB_FILE).exists() {
        move_over(path, &built, owner, options)?;
        exchange(path, &built, &replaced)?;
        remove(&built)?;
        remove(&replaced)?;
    }
    SegmentLog::open(&files(path), owner, options)
}

fn files(path: &Path) -> Arc<dyn LogFiles> {
    Arc::new(DiskFiles::new(path))
}

fn create(path: &Path, owner: LogOwner, options: LogOptions) -> io::Result<()> {
    fs::create_dir_all(path)?;
    SegmentLog::create(&files(path), owner, options)
}

/// Builds a log in `built` from the database in `path`.
fn move_over(path: &Path, built: &Path, owner: LogOwner, options: LogOptions) -> io::Result<()> {
    create(built, owner, options)?;
    let old = RocksLog::open(path)?;
    let new = SegmentLog::open(&files(built), owner, options)?;
    for fact in FACTS {
        if let Some(value) = old.fact(fact)? {
            new.write(&[LogWrite::Fact(fact, value)])?;
        }
    }
    let mut entries = 0;
    let mut from = 0;
    loop {
        let read = old.read(from, u64::MAX, MOVED_BYTES)?;
        let Some((last, _)) = read.last() else {
            break;
        };
        from = last + 1;
        entries += read.len();
        let writes = read
            .into_iter()
            .map(|(index, entry)| record(index, entry).map(LogWrite::Put));
        new.write(&writes.collect::<io::Result<Vec<_>>>()?)?;
        new.sync()?;
    }
    new.sync()?;
    drop(new);
    compare(&old, &SegmentLog::open(&files(built), owner, options)?)?;
    sync_dir(built)?;
    info!(
        entries,
        "the log was moved over from a database of an earlier version"
    );
    Ok(())
}

/// Checks that the new log, read from its files, equals the old one.
fn compare(old: &RocksLog, new: &SegmentLog) -> io::Result<()> {
    let differs = |what: String| {
        let message = format!("the log could not be moved over: {what} differs");
        io::Error::new(ErrorKind::InvalidData, message)
    };
    for fact in FACTS {
        if old.fact(fact)? != new.fact(fact)? {
            return Err(differs(format!("{fact:?}")));
        }
    }
    let mut from = 0;
    loop {
        let read = old.read(from, u64::MAX, MOVED_BYTES)?;
        if read
            != new.read(
                from,
                read.last().map_or(u64::MAX, |(i, _)| i + 1),
                usize::MAX,
            )?
        {
            return Err(differs(format!("an entry from {from} on")));
        }
        match read.last() {
            Some((last, _)) => from = last + 1,
            None => return Ok(()),
        }
    }
}

/// Splits a stored entry: format, kind, term, node of the leader, payload.
pub(super) fn record(index: u64, mut entry: Bytes) -> io::Result<LogRecord> {
    let short = || {
        let message = format!("log entry {index} is damaged: it is too short");
        io::Error::new(ErrorKind::InvalidData, message)
    };
    let head = *entry.first_chunk::<ENTRY_HEAD>().ok_or_else(short)?;
    let term = head[2..].first_chunk::<8>().ok_or_else(short)?;
    Ok(LogRecord {
        index,
        term: u64::from_be_bytes(*term),
        head,
        payload: entry.split_off(ENTRY_HEAD),
    })
}

/// Replaces the directory `path` with `built`.
fn exchange(path: &Path, built: &Path, replaced: &Path) -> io::Result<()> {
    match renameat_with(CWD, built, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => sync_parent(path),
        Err(_) => {
            // Not every file system supports the exchange.
            rename(path, replaced)?;
            rename(built, path)
        }
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

fn remove(path: &PathBuf) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const OWNER: LogOwner = LogOwner {
        cluster_id: 1,
        member_id: 2,
        instance_id: 3,
    };

    fn old_log(path: &Path) -> RocksLog {
        let old = RocksLog::open(path).unwrap();
        let mut writes = vec![
            LogWrite::Fact(Fact::Vote, b"vote".to_vec()),
            LogWrite::Fact(Fact::Purged, b"purged".to_vec()),
        ];
        for index in 5..50 {
            let mut head = [1; ENTRY_HEAD];
            head[2..10].copy_from_slice(&9_u64.to_be_bytes());
            writes.push(LogWrite::Put(LogRecord {
                index,
                term: 9,
                head,
                payload: vec![index as u8; 100].into(),
            }));
        }
        old.write(&writes).unwrap();
        old.sync().unwrap();
        old
    }

    fn open(path: &Path) -> SegmentLog {
        open_log(path, OWNER).unwrap()
    }

    fn entries(log: &SegmentLog) -> Vec<(u64, Bytes)> {
        log.read(0, u64::MAX, usize::MAX).unwrap()
    }

    #[test]
    fn a_log_in_a_database_is_moved_over_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("log");
        let old = old_log(&path);
        let expected = old.read(0, u64::MAX, usize::MAX).unwrap();
        drop(old);
        for _ in 0..2 {
            let log = open(&path);
            assert_eq!(entries(&log), expected);
            assert_eq!(log.fact(Fact::Vote).unwrap().unwrap(), b"vote");
            assert_eq!(log.fact(Fact::Committed).unwrap(), None);
            assert!(!path.join(ROCKSDB_FILE).exists());
        }
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn the_files_of_a_log_are_its_owners_alone_also_those_of_earlier_versions() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("log");
        let modes = || {
            let files = fs::read_dir(&path).unwrap().map(Result::unwrap);
            let modes = files.map(|file| file.metadata().unwrap().permissions().mode() & 0o777);
            modes.collect::<Vec<_>>()
        };
        drop(open(&path));
        let created = modes();
        assert!(!created.is_empty());
        assert!(created.iter().all(|mode| *mode == 0o600), "{created:?}");
        for file in fs::read_dir(&path).unwrap().map(Result::unwrap) {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        }
        drop(open(&path));
        let opened = modes();
        assert!(opened.iter().all(|mode| *mode == 0o600), "{opened:?}");
    }

    #[test]
    fn a_move_that_a_crash_cut_short_is_done_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("log");
        let built = root.path().join("log.new");
        let replaced = root.path().join("log.old");
        let expected = old_log(&path).read(0, u64::MAX, usize::MAX).unwrap();
        // An unfinished new log beside the old one.
        create(&built, OWNER, LogOptions::STANDARD).unwrap();
        // Between the two renames on a file system without the exchange.
        fs::rename(&path, &replaced).unwrap();
        assert_eq!(entries(&open(&path)), expected);
        // After the exchange, before the old log is removed.
        drop(old_log(&built));
        assert_eq!(entries(&open(&path)), expected);
        assert!(!built.exists() && !replaced.exists());
    }

    #[test]
    fn a_log_directory_that_lost_its_segments_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("log");
        drop(open(&path));
        for entry in fs::read_dir(&path).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let refused = open_log(&path, OWNER).unwrap_err();
        assert!(refused.to_string().contains("is missing"), "{refused}");
    }
}

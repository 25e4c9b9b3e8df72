//! The folder of an archive: names of files, and who may write.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use tenure_backup::Revision;

use crate::failure::Failure;

const SNAPSHOT: (&str, &str) = ("snapshot-", ".db");
const SEGMENT: (&str, &str) = ("changes-", ".seg");
const LOCK: &str = "lock";
/// Digits of a revision in a name: those of the largest one, so that names sort as revisions do.
const DIGITS: usize = 19;

/// The folder of an archive.
#[derive(Debug)]
pub(in crate::commands) struct Folder {
    path: PathBuf,
    /// Held while this process writes; `None` for one that only reads.
    _lock: Option<File>,
}

/// A file of an archive, and the revision in its name: that of a snapshot, or the one before the
/// first in a segment.
pub(in crate::commands) type Named = (Revision, PathBuf);

impl Folder {
    /// Makes the folder if it is missing, and keeps other writers out.
    pub(in crate::commands) fn lock(path: &Path) -> Result<Self, Failure> {
        let made = || -> io::Result<File> {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600);
            options.open(path.join(LOCK))
        };
        let lock = made().with_context(|| format!("cannot write into {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = "another process writes into this archive";
                return Err(anyhow!("{}: {text}", path.display()).into());
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: Some(lock),
        })
    }

    /// A folder that is only read.
    pub(in crate::commands) fn read(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            _lock: None,
        }
    }

    pub(in crate::commands) fn path(&self) -> &Path {
        &self.path
    }

    /// The snapshots, by revision.
    pub(in crate::commands) fn snapshots(&self) -> Result<Vec<Named>, Failure> {
        self.named(SNAPSHOT)
    }

    /// The segments, by the revision before their first.
    pub(in crate::commands) fn segments(&self) -> Result<Vec<Named>, Failure> {
        self.named(SEGMENT)
    }

    pub(super) fn snapshot_path(&self, revision: Revision) -> PathBuf {
        self.path.join(name(SNAPSHOT, revision))
    }

    pub(super) fn segment_path(&self, after: Revision) -> PathBuf {
        self.path.join(name(SEGMENT, after))
    }

    /// A file that is being received, and has no name yet.
    pub(super) fn partial_path(&self) -> PathBuf {
        self.path.join("snapshot.part")
    }

    /// Makes names of files durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn named(&self, (start, end): (&str, &str)) -> Result<Vec<Named>, Failure> {
        let read = || -> io::Result<Vec<Named>> {
            let mut found = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let path = entry?.path();
                let name = path.file_name().and_then(|name| name.to_str());
                let digits = name
                    .and_then(|name| name.strip_prefix(start)?.strip_suffix(end))
                    .filter(|digits| digits.len() == DIGITS);
                if let Some(revision) = digits.and_then(|digits| digits.parse().ok()) {
                    found.push((Revision(revision), path));
                }
            }
            found.sort_unstable();
            Ok(found)
        };
        Ok(read().with_context(|| format!("cannot read {}", self.path.display()))?)
    }
}

fn name((start, end): (&str, &str), revision: Revision) -> String {
    format!("{start}{:0DIGITS$}{end}", revision.0)
}

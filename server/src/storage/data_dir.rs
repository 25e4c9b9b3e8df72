//! The data directory: its layout, its lock, and whose it is.
//!
//! # Invariants
//! One process uses a directory at a time. A directory belongs to one member of one quorum for
//! ever: a member that lost its data is a new member.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use fs4::fs_std::FileExt;
use thiserror::Error;

/// Version of everything below the directory; another one means another layout.
const FORMAT: u64 = 1;
const IDENTITY_FILE: &str = "identity";
const LOCK_FILE: &str = "lock";

/// An opened, locked data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held for as long as the process uses the directory.
    _lock: File,
}

/// Whose a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The quorum.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// The file system refused.
    #[error("data directory {path}: {doing}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// Another process holds it.
    #[error(
        "data directory {0} is in use by another process; stop it or choose another --data-dir"
    )]
    InUse(PathBuf),
    /// Another program or version wrote it.
    #[error("data directory {path} has an identity file that this version cannot read: {what}")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl DataDir {
    /// Opens and locks `path`, creating it when it is not there.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |doing| failed(path, doing);
        fs::create_dir_all(path).map_err(failed("creating it"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(failed("opening the lock file"))?;
        match FileExt::try_lock_exclusive(&lock) {
            Ok(true) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Ok(false) => Err(DataDirError::InUse(path.to_owned())),
            Err(error) => Err(failed("locking it")(error)),
        }
    }

    /// Whose the directory is; `None` when it is new.
    ///
    /// # Errors
    /// When the identity file cannot be read.
    pub fn owner(&self) -> Result<Option<Owner>, DataDirError> {
        match fs::read_to_string(self.path.join(IDENTITY_FILE)) {
            Ok(text) => parse(&text)
                .map(Some)
                .map_err(|what| DataDirError::Foreign {
                    path: self.path.clone(),
                    what,
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&self.path, "reading the identity file")(error)),
        }
    }

    /// Makes a new directory `owner`'s for ever.
    ///
    /// # Errors
    /// When the identity file cannot be written.
    pub fn claim(&self, owner: Owner) -> Result<(), DataDirError> {
        write_durably(&self.path.join(IDENTITY_FILE), &format(owner))
            .map_err(failed(&self.path, "writing the identity file"))
    }

    /// Where the log lies.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the state lies.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Where snapshots lie.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> DataDirError + use<> {
    let path = path.to_owned();
    move |source| DataDirError::Io {
        path,
        doing,
        source,
    }
}

/// Writes a small file so that after a crash it has either its old or its new content.
pub(super) fn write_durably(path: &Path, content: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn format(owner: Owner) -> String {
    format!(
        "format = {FORMAT}\ncluster_id = {:016x}\nmember_id = {:016x}\n",
        owner.cluster_id, owner.member_id
    )
}

fn parse(text: &str) -> Result<Owner, String> {
    let field = |name: &str, radix| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='))
            .ok_or_else(|| format!("it has no {name}"))
            .and_then(|value| {
                u64::from_str_radix(value.trim(), radix).map_err(|e| format!("{name}: {e}"))
            })
    };
    let version = field("format", 10)?;
    if version != FORMAT {
        return Err(format!("format {version} is not {FORMAT}"));
    }
    Ok(Owner {
        cluster_id: field("cluster_id", 16)?,
        member_id: field("member_id", 16)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner {
        cluster_id: 0xC,
        member_id: 0xAB,
    };

    #[test]
    fn a_directory_remembers_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new");
        let dir = DataDir::open(&path).unwrap();
        assert_eq!(dir.owner().unwrap(), None);
        dir.claim(OWNER).unwrap();
        drop(dir);
        assert_eq!(DataDir::open(&path).unwrap().owner().unwrap(), Some(OWNER));
    }

    #[test]
    fn a_directory_serves_one_process_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = DataDir::open(root.path()).unwrap();
        let second = DataDir::open(root.path());
        assert!(matches!(second, Err(DataDirError::InUse(_))), "{second:?}");
        drop(first);
        DataDir::open(root.path()).unwrap();
    }

    #[test]
    fn a_directory_of_another_format_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        for text in [
            "format = 2\ncluster_id = 0\nmember_id = 0\n",
            "hello",
            "format = 1\n",
        ] {
            fs::write(root.path().join(IDENTITY_FILE), text).unwrap();
            assert!(
                matches!(dir.owner(), Err(DataDirError::Foreign { .. })),
                "{text}"
            );
        }
    }
}

//! The data directory: its layout, its lock and its owner.
//!
//! It does not know the formats of the log, the state and the snapshots in it.
//!
//! # Invariants
//! One process uses a directory at a time. A directory belongs to one instance of one member of one
//! quorum for ever: a member that lost its data is a new member. A directory that has contents and
//! no `identity` file is never treated as new.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use fs4::fs_std::FileExt;
use parking_lot::Mutex;
use thiserror::Error;

use super::{
    identity_file::{self, IdentityFault, IdentityRecord, Layout},
    new_cluster,
};

const IDENTITY_FILE: &str = "identity";
const LOCK_FILE: &str = "lock";
/// Name of the directory of the certificates that a node makes for itself; etcd's.
pub const CERTIFICATES_NAME: &str = "fixtures";
/// Names that a new directory may contain: files written before the identity file, and a directory
/// that file systems create in the root of a volume.
const NEW_NAMES: [&str; 4] = [LOCK_FILE, "identity.tmp", "lost+found", CERTIFICATES_NAME];
/// Name of etcd's directory in its data directory.
const ETCD_NAME: &str = "member";
/// Maximum number of names listed in the error for a foreign directory.
const NAMES_TOLD_MAX: usize = 5;
/// Only the account of the server has access to the stored data.
const DIRECTORY_MODE: u32 = 0o700;
pub(super) const FILE_MODE: u32 = 0o600;

/// An open, locked data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Content of the identity file; `None` while the directory is new.
    identity: Mutex<Option<IdentityRecord>>,
    /// Held for as long as the process uses the directory.
    _lock: File,
}

/// The owner of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The quorum's id.
    pub cluster_id: u64,
    /// The member's id.
    pub member_id: u64,
    /// Random id of this data directory. It distinguishes a member that lost its data and restarts
    /// under its old id from the member it was before.
    pub instance_id: u64,
}

/// Reasons why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// An I/O operation failed.
    #[error("data directory {path}: {doing}")]
    Io {
        /// Path of the data directory.
        path: PathBuf,
        /// The operation that failed.
        doing: &'static str,
        /// The error of the file system.
        #[source]
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error(
        "data directory {0} is in use by another process; stop it or choose another --data-dir"
    )]
    InUse(PathBuf),
    /// A later version wrote it.
    #[error(
        "data directory {path} was written by a newer version: its identity file has format \
         {format}, which this version does not know; start the newer version again, nothing was \
         changed"
    )]
    Newer {
        /// Path of the data directory.
        path: PathBuf,
        /// The format number found.
        format: u64,
    },
    /// The identity file is damaged, or not of any known version.
    #[error(
        "data directory {path} has an identity file that cannot be used: {what}; restore the file \
         from a copy, or replace the member: remove it and add it again with an empty data \
         directory"
    )]
    Foreign {
        /// Path of the data directory.
        path: PathBuf,
        /// The reason why the file cannot be used.
        what: String,
    },
    /// It contains data of etcd.
    #[error(
        "data directory {0} holds data of etcd (member/), which is not read from there; choose an \
         empty --data-dir, and copy the keys over with both servers running"
    )]
    Etcd(PathBuf),
    /// It has contents but no identity file.
    #[error(
        "data directory {path} has no identity file and is not empty: it holds {holds}; choose an \
         empty --data-dir, or restore the identity file if this is a member's directory"
    )]
    NotEmpty {
        /// Path of the data directory.
        path: PathBuf,
        /// The first names in it.
        holds: String,
    },
}

impl DataDir {
    /// Opens and locks `path`, creates it if it does not exist, and reads the identity file.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        refuse_foreign(path)?;
        Self::open_any(path)
    }

    /// As [`DataDir::open`], for a directory that a tool of etcd's restored: beside `member/` it
    /// may hold what an earlier attempt to take it over left.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open_restored(path: &Path) -> Result<Self, DataDirError> {
        Self::open_any(path)
    }

    fn open_any(path: &Path) -> Result<Self, DataDirError> {
        let failed = |doing| failed(path, doing);
        create(path).map_err(failed("creating it"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(path.join(LOCK_FILE))
            .map_err(failed("opening the lock file"))?;
        match FileExt::try_lock_exclusive(&lock) {
            Ok(true) => {}
            Ok(false) => return Err(DataDirError::InUse(path.to_owned())),
            Err(error) => return Err(failed("locking it")(error)),
        }
        let dir = Self {
            path: path.to_owned(),
            identity: Mutex::new(None),
            _lock: lock,
        };
        new_cluster::finish(path, &path.join(IDENTITY_FILE), &dir.peers())
            .map_err(failed("finishing its recovery"))?;
        dir.load()?;
        Ok(dir)
    }

    /// Returns the owner of the directory; `None` when it is new.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.identity.lock().map(|record| record.owner)
    }

    /// Whether its log has ever held an entry. If so, an empty log is a lost one.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        self.identity.lock().is_some_and(|record| record.founded)
    }

    /// Whether the log of the directory at `path` has ever held an entry, as far as can be told
    /// without opening it. One that cannot be read counts as one: opening it reports why.
    #[must_use]
    pub fn was_founded(path: &Path) -> bool {
        match fs::read(path.join(IDENTITY_FILE)) {
            Ok(text) => identity_file::parse(&text).map_or(true, |(record, _)| record.founded),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Makes `owner` the permanent owner of a new directory.
    ///
    /// # Errors
    /// When the identity file cannot be written.
    ///
    /// # Panics
    /// When the directory has another owner.
    pub fn claim(&self, owner: Owner) -> Result<(), DataDirError> {
        self.save(IdentityRecord {
            owner,
            founded: false,
        })
    }

    /// Records that the log holds an entry. Call it once that entry is durable; repeated calls have
    /// no effect.
    ///
    /// # Errors
    /// When the identity file cannot be written.
    pub fn mark_founded(&self) -> Result<(), DataDirError> {
        let record = *self.identity.lock();
        match record {
            Some(record) if !record.founded => self.save(IdentityRecord {
                founded: true,
                ..record
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn load(&self) -> Result<(), DataDirError> {
        let text = match fs::read(self.path.join(IDENTITY_FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(&self.path, "reading the identity file")(error)),
        };
        let path = || self.path.clone();
        let refused = |fault| match fault {
            IdentityFault::Newer(format) => DataDirError::Newer {
                path: path(),
                format,
            },
            IdentityFault::Unusable(what) => DataDirError::Foreign { path: path(), what },
        };
        let (record, layout) = identity_file::parse(&text).map_err(refused)?;
        match layout {
            Layout::Current => *self.identity.lock() = Some(record),
            // The instance id was generated just now; saving it makes it permanent.
            Layout::WithoutInstance => self.save(record)?,
        }
        Ok(())
    }

    fn save(&self, record: IdentityRecord) -> Result<(), DataDirError> {
        // Log and state would become those of another member. A few times in the life of a
        // directory.
        assert!(
            self.identity.lock().is_none_or(|held| {
                held.owner == record.owner && (record.founded || !held.founded)
            }),
            "a directory keeps its owner, and that it was founded"
        );
        debug_assert_eq!(
            identity_file::parse(identity_file::format(&record).as_bytes()),
            Ok((record, Layout::Current)),
            "an identity is read as it was written"
        );
        write_durably(
            &self.path.join(IDENTITY_FILE),
            &identity_file::format(&record),
        )
        .map_err(failed(&self.path, "writing the identity file"))?;
        *self.identity.lock() = Some(record);
        Ok(())
    }

    /// Path of the file with the instance ids of the other members.
    #[must_use]
    pub fn peers(&self) -> PathBuf {
        self.path.join("peers")
    }

    /// Path of the data directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Path of the state database.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Path of the directory of snapshots.
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

/// Refuses a directory that has contents but no identity file. Writes nothing.
fn refuse_foreign(path: &Path) -> Result<(), DataDirError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path, "listing it")(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(path, "listing it"))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    let has = |name: &str| names.iter().any(|it| it == name);
    if has(IDENTITY_FILE) {
        return Ok(());
    }
    if has(ETCD_NAME) && path.join(ETCD_NAME).is_dir() {
        return Err(DataDirError::Etcd(path.to_owned()));
    }
    names.retain(|name| !NEW_NAMES.contains(&name.as_str()));
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMES_TOLD_MAX);
    names.truncate(NAMES_TOLD_MAX);
    let mut holds = names.join(", ");
    if more > 0 {
        holds.push_str(&format!(" and {more} more"));
    }
    let path = path.to_owned();
    Err(DataDirError::NotEmpty { path, holds })
}

/// Creates the directory, and makes its name durable.
fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

/// Replaces a small file atomically: after a crash it has either its old or its new content.
pub(super) fn write_durably(path: &Path, content: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(FILE_MODE)
        .open(&temporary)?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const OWNER: Owner = Owner {
        cluster_id: 0xC,
        member_id: 0xAB,
        instance_id: 0x1234,
    };

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_directory_remembers_its_owner_and_that_it_was_founded() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new");
        let dir = DataDir::open(&path).unwrap();
        assert_eq!(dir.owner(), None);
        dir.claim(OWNER).unwrap();
        assert!(!dir.is_founded());
        drop(dir);
        let dir = DataDir::open(&path).unwrap();
        assert_eq!(dir.owner(), Some(OWNER));
        dir.mark_founded().unwrap();
        drop(dir);
        let dir = DataDir::open(&path).unwrap();
        assert_eq!(dir.owner(), Some(OWNER));
        assert!(dir.is_founded());
    }

    #[test]
    fn only_the_owners_account_can_look_into_a_directory() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new");
        let dir = DataDir::open(&path).unwrap();
        dir.claim(OWNER).unwrap();
        assert_eq!(mode(&path), DIRECTORY_MODE);
        assert_eq!(mode(&path.join(IDENTITY_FILE)), FILE_MODE);
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
    fn a_directory_of_the_version_before_gets_an_instance_id_once() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(IDENTITY_FILE);
        fs::write(
            &file,
            "format = 1\ncluster_id = 000000000000000c\nmember_id = 00000000000000ab\n",
        )
        .unwrap();
        let first = DataDir::open(root.path()).unwrap().owner().unwrap();
        assert_eq!((first.cluster_id, first.member_id), (0xC, 0xAB));
        assert_ne!(first.instance_id, 0);
        let again = DataDir::open(root.path()).unwrap().owner().unwrap();
        assert_eq!(first, again);
    }

    #[test]
    fn a_damaged_identity_is_refused_with_a_remedy() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        DataDir::open(&path).unwrap().claim(OWNER).unwrap();
        let file = path.join(IDENTITY_FILE);
        let sound = fs::read(&file).unwrap();
        for at in 0..sound.len() {
            for damaged in [
                [&sound[..at], &[sound[at] ^ 1], &sound[at + 1..]].concat(),
                sound[..at].to_vec(),
            ] {
                fs::write(&file, &damaged).unwrap();
                let error = DataDir::open(&path).expect_err("damage is noticed");
                assert!(matches!(error, DataDirError::Foreign { .. }), "{error:?}");
                assert!(error.to_string().contains("replace the member"), "{error}");
            }
        }
    }

    #[test]
    fn a_directory_of_a_later_version_is_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        DataDir::open(root.path()).unwrap().claim(OWNER).unwrap();
        let file = root.path().join(IDENTITY_FILE);
        let later = identity_file::with_checksum("format = 3\nmember = m1\n".to_owned());
        fs::write(&file, &later).unwrap();
        let error = DataDir::open(root.path()).expect_err("it is a later version's");
        let told = error.to_string();
        assert!(told.contains("start the newer version again"), "{told}");
        assert!(told.contains(&*root.path().to_string_lossy()), "{told}");
        assert_eq!(fs::read_to_string(&file).unwrap(), later);
    }

    #[test]
    fn a_directory_of_etcds_is_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("member/wal")).unwrap();
        let error = DataDir::open(root.path()).expect_err("it is etcd's");
        assert!(error.to_string().contains("etcd"), "{error}");
        let names: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["member"]);
    }

    #[test]
    fn a_directory_that_holds_something_else_is_refused_by_its_names() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("lost+found")).unwrap();
        drop(DataDir::open(root.path()).unwrap());
        fs::write(root.path().join("photo.jpg"), "").unwrap();
        let error = DataDir::open(root.path()).expect_err("it is somebody's");
        assert!(error.to_string().contains("photo.jpg"), "{error}");
    }
}

//! The data directory: its layout, its lock, and whose it is.
//!
//! It does not know how the log, the state and the snapshots in it are written.
//!
//! # Invariants
//! One process uses a directory at a time. A directory belongs to one instance of one member of one
//! quorum for ever: a member that lost its data is a new member. A directory that holds anything
//! and no `identity` is never taken for a new one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use fs4::fs_std::FileExt;
use parking_lot::Mutex;
use thiserror::Error;

use super::identity_file::{self, IdentityFault, IdentityRecord, Layout};

const IDENTITY_FILE: &str = "identity";
const LOCK_FILE: &str = "lock";
/// What a directory may hold and still be new: what this program writes before the identity, and
/// what file systems put into the root of a volume.
const NEW_NAMES: [&str; 3] = [LOCK_FILE, "identity.tmp", "lost+found"];
/// Where etcd keeps its data.
const ETCD_NAME: &str = "member";
/// Names of a foreign directory that are repeated to the operator.
const NAMES_TOLD_MAX: usize = 5;
/// Only the account of the server may look into what it stores.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// An opened, locked data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// What the identity file says; `None` while the directory is new.
    identity: Mutex<Option<IdentityRecord>>,
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
    /// This data directory: random, so that a member that lost its data and starts again under its
    /// old id is told from the one it was.
    pub instance_id: u64,
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
    /// A later version wrote it.
    #[error(
        "data directory {path} was written by a newer version: its identity file has format \
         {format}, which this version does not know; start the newer version again, nothing was \
         changed"
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The format.
        format: u64,
    },
    /// Its identity file is damaged, or no version's.
    #[error(
        "data directory {path} has an identity file that cannot be used: {what}; restore the file \
         from a copy, or replace the member: remove it and add it again with an empty data \
         directory"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It holds etcd's data.
    #[error(
        "data directory {0} holds data of etcd (member/), which is not read from there; choose an \
         empty --data-dir, and copy the keys over with both servers running"
    )]
    Etcd(PathBuf),
    /// It holds something, and nothing says whose.
    #[error(
        "data directory {path} has no identity file and is not empty: it holds {holds}; choose an \
         empty --data-dir, or restore the identity file if this is a member's directory"
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// The first of the names in it.
        holds: String,
    },
}

impl DataDir {
    /// Opens and locks `path`, creating it when it is not there, and reads whose it is.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |doing| failed(path, doing);
        refuse_foreign(path)?;
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
        dir.load()?;
        Ok(dir)
    }

    /// Whose the directory is; `None` when it is new.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.identity.lock().map(|record| record.owner)
    }

    /// Whether its log has held an entry: an empty log is then a lost one.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        self.identity.lock().is_some_and(|record| record.founded)
    }

    /// Makes a new directory `owner`'s for ever.
    ///
    /// # Errors
    /// When the identity file cannot be written.
    pub fn claim(&self, owner: Owner) -> Result<(), DataDirError> {
        self.save(IdentityRecord {
            owner,
            founded: false,
        })
    }

    /// Writes down that the log holds an entry. To be called once that is durable, and harmless
    /// when repeated.
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
            // The record got its instance id just now: from here on the directory keeps it.
            Layout::WithoutInstance => self.save(record)?,
        }
        Ok(())
    }

    fn save(&self, record: IdentityRecord) -> Result<(), DataDirError> {
        write_durably(
            &self.path.join(IDENTITY_FILE),
            &identity_file::format(&record),
        )
        .map_err(failed(&self.path, "writing the identity file"))?;
        *self.identity.lock() = Some(record);
        Ok(())
    }

    /// Where the instance ids of the other members are kept.
    #[must_use]
    pub fn peers(&self) -> PathBuf {
        self.path.join("peers")
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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

/// Refuses a directory that holds something and does not say whose it is. Nothing is written.
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

/// Writes a small file so that after a crash it has either its old or its new content.
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

//! Receipt of a snapshot: one directory, kept when a transfer breaks off, so that the next transfer
//! can resume.
//!
//! It does not know messages; `raft/transfer.rs` does.
//!
//! # Invariants
//! One transfer at a time writes. Files are kept only for transfers from the same data directory.
//! The sender that resumes checks the files held; the whole snapshot is verified before it is
//! installed.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::{
    adapter_record::AdapterRecord,
    data_dir::{FILE_MODE, sync_dir},
};

/// Followed by the instance id of the sender, in hexadecimal.
const PARTIAL_PREFIX: &str = "partial-";
/// Size of the reads that compute a checksum.
const READ_BYTES: usize = 256 << 10;

/// A complete or partial file, with its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFile {
    /// Name of the file in the checkpoint.
    pub name: String,
    /// Number of bytes held.
    pub bytes: u64,
    /// CRC-32C of these bytes.
    pub crc32c: u32,
}

/// Admits snapshot transfers, one at a time.
#[derive(Debug)]
pub struct Incoming {
    root: PathBuf,
    slot: Arc<Mutex<Slot>>,
    /// Number of the latest transfer, which supersedes all earlier ones.
    newest: watch::Sender<u64>,
}

/// The exclusive right to write, released on drop.
#[derive(Debug)]
pub struct Turn {
    root: PathBuf,
    slot: OwnedMutexGuard<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Name of the current transfer; 0 when it has none.
    transfer: u64,
    /// The adapter record that the held files were verified against. It spares a second
    /// verification when the connection breaks after the first.
    whole: Option<AdapterRecord>,
    /// The sender of the last snapshot that did not match its header, and the record in that
    /// header.
    refused: Option<(u64, AdapterRecord)>,
}

impl Incoming {
    /// Receives transfers in the directory `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            slot: Arc::default(),
            newest: watch::Sender::new(0),
        }
    }

    /// Supersedes the transfer in progress, which ends at its next chunk: its sender has given it
    /// up, or is no longer the leader.
    ///
    /// # Cancel safety
    /// When the future is dropped, the earlier transfer may have been ended already.
    pub async fn take(&self) -> (Turn, Superseded) {
        let mut own = 0;
        self.newest.send_modify(|newest| {
            *newest += 1;
            own = *newest;
        });
        let turn = Turn {
            root: self.root.clone(),
            slot: Arc::clone(&self.slot).lock_owned().await,
        };
        let newest = self.newest.subscribe();
        (turn, Superseded { own, newest })
    }
}

/// Notifies a transfer that a later one supersedes it.
#[derive(Debug)]
pub struct Superseded {
    own: u64,
    newest: watch::Receiver<u64>,
}

impl Superseded {
    /// Resolves when the transfer is superseded.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn happens(&mut self) {
        let own = self.own;
        // The sender lives as long as the process.
        _ = self.newest.wait_for(|newest| *newest != own).await;
    }
}

impl Turn {
    /// Returns the name of the previous transfer.
    #[must_use]
    pub fn transfer(&self) -> u64 {
        self.slot.transfer
    }

    /// Generates a unique name for the next transfer, and returns it.
    pub fn name(&mut self) -> u64 {
        self.slot.transfer = rand::random::<u64>().max(1);
        self.slot.transfer
    }

    /// Whether the held files were verified against `record` and have not changed since.
    #[must_use]
    pub fn is_whole(&self, record: &AdapterRecord) -> bool {
        self.slot.whole.as_ref() == Some(record)
    }

    pub(super) fn set_whole(&mut self, record: &AdapterRecord) {
        self.slot.whole = Some(record.clone());
    }

    /// Takes the record in the header of the last snapshot from the data directory `sender`, if
    /// that snapshot failed verification. Returns it once.
    pub fn take_refused(&mut self, sender: u64) -> Option<AdapterRecord> {
        let refused = self.slot.refused.take_if(|(by, _)| *by == sender);
        refused.map(|(_, it)| it)
    }

    /// Removes the files from `sender`, which failed verification against `expected`.
    pub(super) fn refuse(&mut self, sender: u64, expected: &AdapterRecord) -> io::Result<()> {
        self.clear()?;
        self.slot.refused = Some((sender, expected.clone()));
        Ok(())
    }

    /// Discards the result of the verification, because the held files change.
    pub fn changes(&mut self) {
        self.slot.whole = None;
    }

    /// Returns the files held from the data directory `sender`. Reads all of them.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn held(&self, sender: u64) -> io::Result<Vec<HeldFile>> {
        let directory = self.partial(sender);
        let mut held = Vec::new();
        for (name, bytes) in list(&directory)? {
            let (bytes, crc32c) = checksum(&directory.join(&name), bytes)?;
            held.push(HeldFile {
                name,
                bytes,
                crc32c,
            });
        }
        Ok(held)
    }

    /// Creates the directory for files from `sender`. Removes the files that are not in `names`,
    /// and those of other senders.
    ///
    /// # Errors
    /// When the directory cannot be created, or a file cannot be removed.
    pub fn directory(&mut self, sender: u64, names: &[String]) -> io::Result<PathBuf> {
        let directory = self.partial(sender);
        for other in partials(&self.root)?.filter(|path| *path != directory) {
            self.changes();
            fs::remove_dir_all(other)?;
        }
        fs::create_dir_all(&directory)?;
        let keep: BTreeSet<_> = names.iter().collect();
        for (name, _) in list(&directory)? {
            if !keep.contains(&name) {
                self.changes();
                fs::remove_file(directory.join(name))?;
            }
        }
        Ok(directory)
    }

    /// Removes all files held.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn clear(&mut self) -> io::Result<()> {
        *self.slot = Slot::default();
        for path in partials(&self.root)? {
            fs::remove_dir_all(path)?;
        }
        Ok(())
    }

    /// Moves the completed files from `sender` to `target`, which ends the transfer.
    ///
    /// # Errors
    /// When the file names cannot be made durable.
    ///
    /// # Panics
    /// When the files were not verified since they last changed.
    pub fn complete(&mut self, sender: u64, target: &Path) -> io::Result<()> {
        // What is taken over becomes the state. Once for each snapshot.
        assert!(
            self.slot.whole.is_some(),
            "a snapshot is verified before it is taken over"
        );
        *self.slot = Slot::default();
        let directory = self.partial(sender);
        sync_dir(&directory)?;
        fs::rename(directory, target)
    }

    pub(super) fn partial(&self, sender: u64) -> PathBuf {
        self.root.join(format!("{PARTIAL_PREFIX}{sender:016x}"))
    }
}

/// Whether `path` holds a partially received snapshot, which startup leaves in place.
pub(super) fn is_partial(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(PARTIAL_PREFIX))
}

fn partials(root: &Path) -> io::Result<impl Iterator<Item = PathBuf> + use<>> {
    let entries = fs::read_dir(root)?.collect::<io::Result<Vec<_>>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| is_partial(path)))
}

/// Lists the files in `directory` with their sizes; none if it does not exist.
fn list(directory: &Path) -> io::Result<Vec<(String, u64)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((name, entry.metadata()?.len()));
    }
    files.sort();
    Ok(files)
}

/// Returns how many bytes were read, at most `bytes`, and their CRC-32C.
///
/// # Errors
/// When the file cannot be read.
pub fn checksum(path: &Path, bytes: u64) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?.take(bytes);
    let mut buffer = vec![0; READ_BYTES];
    let (mut read, mut crc) = (0, 0);
    loop {
        let len = file.read(&mut buffer)?;
        let Some(data) = buffer.get(..len).filter(|data| !data.is_empty()) else {
            return Ok((read, crc));
        };
        crc = crc32c::crc32c_append(crc, data);
        read += len as u64;
    }
}

/// Opens a file in `directory` for writing at `offset`, and truncates it there.
///
/// # Errors
/// When the file cannot be opened, or is shorter than `offset`.
pub fn open_at(directory: &Path, name: &str, offset: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(directory.join(name))?;
    if file.metadata()?.len() < offset {
        return Err(io::Error::other("less of a file is held than was said"));
    }
    file.set_len(offset)?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn what_broke_off_is_held_for_the_same_sender_only() {
        let root = tempfile::tempdir().unwrap();
        let incoming = Incoming::new(root.path());
        let (mut turn, _) = incoming.take().await;
        let names = ["a".to_owned(), "b".to_owned()];
        let directory = turn.directory(1, &names).unwrap();
        let mut file = open_at(&directory, "a", 0).unwrap();
        file.write_all(b"whole").unwrap();
        open_at(&directory, "b", 0).unwrap();
        let held = turn.held(1).unwrap();
        assert_eq!((held.len(), held[0].bytes), (2, 5));
        assert_eq!(held[0].crc32c, crc32c::crc32c(b"whole"));
        assert_eq!(turn.held(2).unwrap(), []);
        // Removes a file that is not wanted, and a tail that was not agreed on.
        turn.directory(1, &names[..1]).unwrap();
        assert_eq!(turn.held(1).unwrap(), held[..1]);
        open_at(&directory, "a", 2).unwrap();
        assert_eq!(turn.held(1).unwrap()[0].crc32c, crc32c::crc32c(b"wh"));
        assert!(open_at(&directory, "a", 3).is_err());
        // Files of another sender are distinct, even under the same names.
        turn.directory(2, &names).unwrap();
        assert!(!directory.exists());
    }

    #[tokio::test]
    async fn a_later_transfer_takes_the_place_of_one_under_way() {
        let root = tempfile::tempdir().unwrap();
        let incoming = Arc::new(Incoming::new(root.path()));
        let (mut turn, mut superseded) = incoming.take().await;
        let first = turn.name();
        let later = Arc::clone(&incoming);
        let later = tokio::spawn(async move { later.take().await.0.transfer() });
        superseded.happens().await;
        assert!(!later.is_finished(), "one at a time writes");
        drop(turn);
        assert_eq!(later.await.unwrap(), first);
    }
}

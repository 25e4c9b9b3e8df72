//! The snapshot on its way in: one directory, which stays when a transfer breaks off, so that the
//! next one goes on from there.
//!
//! It does not know messages; `raft/transfer.rs` does.
//!
//! # Invariants
//! One transfer at a time writes. Files stay only for transfers from the data directory that they
//! came from. What is in them is checked by whoever sends the rest, and all of it before it is
//! installed.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::{adapter_record::AdapterRecord, data_dir::sync_dir};

/// Followed by the instance id of the sender, in hexadecimal.
const PARTIAL_PREFIX: &str = "partial-";
/// Bytes read at once for a checksum.
const READ_BYTES: usize = 256 << 10;

/// A file, or the beginning of one, and the checksum of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFile {
    /// Its name in the checkpoint.
    pub name: String,
    /// How much of it is here.
    pub bytes: u64,
    /// CRC-32C of these bytes.
    pub crc32c: u32,
}

/// Lets transfers in, one at a time.
#[derive(Debug)]
pub struct Incoming {
    root: PathBuf,
    slot: Arc<Mutex<Slot>>,
    /// Numbers those who came; the newest takes the place of the others.
    newest: watch::Sender<u64>,
}

/// The right to write. Ends with it.
#[derive(Debug)]
pub struct Turn {
    root: PathBuf,
    slot: OwnedMutexGuard<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// What the present transfer is called; 0 when it has no name.
    transfer: u64,
    /// What the files that are held cover, when they were read through: a link that breaks
    /// meanwhile must not cost it again.
    whole: Option<AdapterRecord>,
    /// From whom the last snapshot came that does not hold what its head says, and what it covers.
    refused: Option<(u64, AdapterRecord)>,
}

impl Incoming {
    /// Transfers into `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            slot: Arc::default(),
            newest: watch::Sender::new(0),
        }
    }

    /// Takes the place of the transfer under way, which ends at its next chunk: its sender has
    /// given it up, or is no longer the leader.
    ///
    /// # Cancel safety
    /// The transfer before may have been ended.
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

/// Tells a transfer that another one wants its place.
#[derive(Debug)]
pub struct Superseded {
    own: u64,
    newest: watch::Receiver<u64>,
}

impl Superseded {
    /// Resolves when it does.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn happens(&mut self) {
        let own = self.own;
        // The sender lives as long as the process.
        drop(self.newest.wait_for(|newest| *newest != own).await);
    }
}

impl Turn {
    /// What the transfer before was called.
    #[must_use]
    pub fn transfer(&self) -> u64 {
        self.slot.transfer
    }

    /// Gives the transfer that follows a name, which no other one has had.
    pub fn name(&mut self) -> u64 {
        self.slot.transfer = rand::random::<u64>().max(1);
        self.slot.transfer
    }

    /// Whether what is held was read through, covers `record`, and did not change since.
    #[must_use]
    pub fn is_whole(&self, record: &AdapterRecord) -> bool {
        self.slot.whole.as_ref() == Some(record)
    }

    pub(super) fn set_whole(&mut self, record: &AdapterRecord) {
        self.slot.whole = Some(record.clone());
    }

    /// What the last snapshot from the data directory `sender` covers, when that was read through
    /// and did not hold what its head says. Is said once.
    pub fn take_refused(&mut self, sender: u64) -> Option<AdapterRecord> {
        let refused = self.slot.refused.take_if(|(by, _)| *by == sender);
        refused.map(|(_, it)| it)
    }

    /// Lets what came from `sender` go, which is not `expected`.
    pub(super) fn refuse(&mut self, sender: u64, expected: &AdapterRecord) -> io::Result<()> {
        self.clear()?;
        self.slot.refused = Some((sender, expected.clone()));
        Ok(())
    }

    /// What is held changes.
    pub fn changes(&mut self) {
        self.slot.whole = None;
    }

    /// What came from the data directory `sender` and was not installed. Reads all of it.
    ///
    /// # Errors
    /// When it cannot be read.
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

    /// The directory for files from `sender`. Only `names` stay in it, and nothing of others.
    ///
    /// # Errors
    /// When it cannot be made, or what is of no use cannot be removed.
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

    /// Lets everything go that came so far.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn clear(&mut self) -> io::Result<()> {
        *self.slot = Slot::default();
        for path in partials(&self.root)? {
            fs::remove_dir_all(path)?;
        }
        Ok(())
    }

    /// Moves what came from `sender` to `target`: all of it is there, and the transfer is over.
    ///
    /// # Errors
    /// When the names cannot be made durable.
    pub fn complete(&mut self, sender: u64, target: &Path) -> io::Result<()> {
        *self.slot = Slot::default();
        let directory = self.partial(sender);
        sync_dir(&directory)?;
        fs::rename(directory, target)
    }

    pub(super) fn partial(&self, sender: u64) -> PathBuf {
        self.root.join(format!("{PARTIAL_PREFIX}{sender:016x}"))
    }
}

/// Whether the start leaves this directory in `snapshots/` alone.
pub(super) fn is_partial(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(PARTIAL_PREFIX))
}

fn partials(root: &Path) -> io::Result<impl Iterator<Item = PathBuf> + use<>> {
    let entries = fs::read_dir(root)?.collect::<io::Result<Vec<_>>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| is_partial(path)))
}

/// The files in `directory` and their sizes; none when it is not there.
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

/// CRC-32C of the first `bytes` of a file, or of all of it when it is shorter, and how many these
/// are.
///
/// # Errors
/// When it cannot be read.
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

/// Opens a file in `directory` to be written from `offset` on; what it holds behind that goes.
///
/// # Errors
/// When it cannot be opened, or holds less.
pub fn open_at(directory: &Path, name: &str, offset: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(false)
        .write(true)
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
        // A file that is not asked for goes, and a tail that is not agreed on.
        turn.directory(1, &names[..1]).unwrap();
        assert_eq!(turn.held(1).unwrap(), held[..1]);
        open_at(&directory, "a", 2).unwrap();
        assert_eq!(turn.held(1).unwrap()[0].crc32c, crc32c::crc32c(b"wh"));
        assert!(open_at(&directory, "a", 3).is_err());
        // Another sender's files are others, whatever they are called.
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

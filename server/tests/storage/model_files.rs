//! Files in memory that crash as a disk may: of what was not synced, any subset of the sectors is
//! kept, each in any of the versions that were written.
//!
//! A sync that is told to fail does as Linux does: what it should have written stays readable and
//! counts as written, and no later sync writes it. Names are kept in order: a crash undoes the last
//! renames that were not synced. Files can be told to fail after so many operations, to crash in
//! the middle of one.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use rand::{Rng, rngs::StdRng};
use tenured::storage::{LogFile, LogFiles};

const SECTOR: usize = 512;

type Names = BTreeMap<String, Arc<ModelFile>>;

/// A directory in memory.
#[derive(Debug, Clone)]
pub(crate) struct ModelFiles {
    names: Arc<Mutex<Directory>>,
    fuel: Arc<AtomicU64>,
    syncs: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Directory {
    now: Names,
    /// What a crash may fall back to, oldest first; the first is durable.
    before: Vec<Names>,
}

/// An open file. The log counts who holds one, and the directory is not to count.
#[derive(Debug)]
struct Handle(Arc<ModelFile>);

#[derive(Debug)]
struct ModelFile {
    content: Mutex<Content>,
    fuel: Arc<AtomicU64>,
    syncs: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Versions of each sector since the last sync.
    pending: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl ModelFiles {
    pub(crate) fn new(contents: BTreeMap<String, Vec<u8>>) -> Self {
        let fuel = Arc::new(AtomicU64::new(u64::MAX));
        let syncs = Arc::new(AtomicU64::new(u64::MAX));
        let file = |content: Vec<u8>| {
            Arc::new(ModelFile {
                content: Mutex::new(Content {
                    synced: content.clone(),
                    now: content,
                    pending: BTreeMap::new(),
                }),
                fuel: Arc::clone(&fuel),
                syncs: Arc::clone(&syncs),
            })
        };
        let now: Names = contents
            .into_iter()
            .map(|(name, content)| (name, file(content)))
            .collect();
        let names = Directory {
            before: vec![now.clone()],
            now,
        };
        Self {
            names: Arc::new(Mutex::new(names)),
            fuel,
            syncs,
        }
    }

    pub(crate) fn shared(&self) -> Arc<dyn LogFiles> {
        Arc::new(self.clone())
    }

    /// Fails every operation after so many.
    pub(crate) fn fail_after(&self, operations: u64) {
        self.fuel.store(operations, Ordering::Relaxed);
    }

    /// Fails every sync of a file after so many.
    pub(crate) fn fail_syncs_after(&self, syncs: u64) {
        self.syncs.store(syncs, Ordering::Relaxed);
    }

    /// What a killed process leaves: everything that was written.
    pub(crate) fn after_kill(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.names.lock();
        let content = |file: &Arc<ModelFile>| file.content.lock().now.clone();
        names
            .now
            .iter()
            .map(|(name, file)| (name.clone(), content(file)))
            .collect()
    }

    /// What a power cut leaves.
    pub(crate) fn after_power_cut(&self, random: &mut StdRng) -> BTreeMap<String, Vec<u8>> {
        let names = self.names.lock();
        let mut states: Vec<_> = names.before.clone();
        states.push(names.now.clone());
        let kept = &states[random.random_range(0..states.len())];
        kept.iter()
            .map(|(name, file)| (name.clone(), file.content.lock().torn(random)))
            .collect()
    }
}

impl Content {
    fn torn(&self, random: &mut StdRng) -> Vec<u8> {
        let mut content = self.synced.clone();
        for (sector, versions) in &self.pending {
            let choice = random.random_range(0..=versions.len());
            if choice > 0 {
                let at = sector * SECTOR;
                content[at..at + SECTOR].copy_from_slice(&versions[choice - 1]);
            }
        }
        content
    }
}

fn spend(fuel: &AtomicU64) -> io::Result<()> {
    fuel.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(1)
    })
    .map(|_| ())
    .map_err(|_| io::Error::other("the disk is gone"))
}

impl LogFiles for ModelFiles {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.names.lock().now.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        match self.names.lock().now.get(name) {
            Some(file) => Ok(Arc::new(Handle(Arc::clone(file)))),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn LogFile>> {
        let spent = spend(&self.fuel);
        let zeros = vec![0; usize::try_from(length).unwrap()];
        let file = Arc::new(ModelFile {
            content: Mutex::new(Content {
                // A crash may leave a file that is not laid out to its end.
                synced: zeros[..if spent.is_ok() { zeros.len() } else { SECTOR }].to_vec(),
                now: zeros,
                pending: BTreeMap::new(),
            }),
            fuel: Arc::clone(&self.fuel),
            syncs: Arc::clone(&self.syncs),
        });
        self.change(|names| {
            names.insert(name.to_owned(), Arc::clone(&file));
        });
        spent.map(|()| Arc::new(Handle(file)) as Arc<dyn LogFile>)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let spent = spend(&self.fuel);
        self.change(|names| {
            let file = names.remove(from).expect("a file to rename");
            names.insert(to.to_owned(), file);
        });
        spent
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let spent = spend(&self.fuel);
        self.change(|names| {
            names.remove(name).expect("a file to remove");
        });
        spent
    }

    fn sync_names(&self) -> io::Result<()> {
        spend(&self.fuel)?;
        let mut names = self.names.lock();
        names.before = vec![names.now.clone()];
        Ok(())
    }
}

impl ModelFiles {
    fn change(&self, change: impl FnOnce(&mut Names)) {
        let mut names = self.names.lock();
        let before = names.now.clone();
        if names.before.last().is_none_or(|last| *last != before) {
            names.before.push(before);
        }
        change(&mut names.now);
    }
}

impl PartialEq for ModelFile {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl LogFile for Handle {
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let mut content = self.0.content.lock();
        let start = usize::try_from(offset).unwrap();
        let end = start + bytes.len();
        assert!(
            end <= content.now.len(),
            "a write never makes a segment longer"
        );
        assert_eq!(start % SECTOR, 0, "a write begins at a sector");
        content.now[start..end].copy_from_slice(&bytes);
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            let version = content.now[sector * SECTOR..(sector + 1) * SECTOR].to_vec();
            content.pending.entry(sector).or_default().push(version);
        }
        spend(&self.0.fuel)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.0.content.lock();
        let start = usize::try_from(offset).unwrap();
        match content.now.get(start..start + buffer.len()) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        spend(&self.0.fuel)?;
        let mut content = self.0.content.lock();
        let dirty = std::mem::take(&mut content.pending);
        spend(&self.0.syncs)?;
        for sector in dirty.into_keys() {
            let place = sector * SECTOR..(sector + 1) * SECTOR;
            let Content { now, synced, .. } = &mut *content;
            synced[place.clone()].copy_from_slice(&now[place]);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.content.lock().now.len() as u64)
    }
}

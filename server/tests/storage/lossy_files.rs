//! Files of a directory that keep what was not synced in the memory of the process: a killed
//! process loses it, as a machine does without power.

use std::{
    io::{self, IoSlice},
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;
use tenured::storage::{DiskFiles, LogFile, LogFiles};

/// A directory that loses what was not synced.
#[derive(Debug)]
pub(crate) struct LossyFiles(DiskFiles);

#[derive(Debug)]
struct LossyFile {
    file: Arc<dyn LogFile>,
    pending: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl LossyFiles {
    pub(crate) fn new(path: &Path) -> Self {
        Self(DiskFiles::new(path))
    }
}

fn lossy(file: Arc<dyn LogFile>) -> Arc<dyn LogFile> {
    Arc::new(LossyFile {
        file,
        pending: Mutex::default(),
    })
}

impl LogFiles for LossyFiles {
    fn names(&self) -> io::Result<Vec<String>> {
        self.0.names()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.0.open(name).map(lossy)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn LogFile>> {
        self.0.create(name, length).map(lossy)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }
}

impl LogFile for LossyFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes = parts.iter().flat_map(|part| part.to_vec()).collect();
        self.pending.lock().push((offset, bytes));
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)?;
        let end = offset + buffer.len() as u64;
        for (start, bytes) in self.pending.lock().iter() {
            let (from, to) = (offset.max(*start), end.min(start + bytes.len() as u64));
            if from < to {
                let place = |at: u64, base: u64| usize::try_from(at - base).unwrap();
                buffer[place(from, offset)..place(to, offset)]
                    .copy_from_slice(&bytes[place(from, *start)..place(to, *start)]);
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        for (offset, bytes) in self.pending.lock().drain(..) {
            self.file.write_at(&mut [IoSlice::new(&bytes)], offset)?;
        }
        self.file.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

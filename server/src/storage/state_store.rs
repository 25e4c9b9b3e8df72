//! The state database that is in use, and its exchange for another when a snapshot is installed.
//!
//! Each database lies in a directory of its own; a small file names the one in use, so a crash in
//! the middle of an exchange leaves either the old or the new one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tenure_statemachine::EngineError;

use super::{data_dir, rocks_engine::RocksEngine};

const CURRENT_FILE: &str = "current";

/// The state database in use.
#[derive(Debug)]
pub struct StateStore {
    root: PathBuf,
    current: ArcSwap<RocksEngine>,
    exchange: Mutex<u64>,
}

impl StateStore {
    /// Opens the database in use below `root`, creating the first one when there is none.
    ///
    /// # Errors
    /// When the files cannot be opened or are damaged.
    pub fn open(root: &Path) -> Result<Self, EngineError> {
        let failed = |source: io::Error| EngineError {
            context: format!("opening the state in {}", root.display()),
            source: Some(Box::new(source)),
        };
        fs::create_dir_all(root).map_err(failed)?;
        let generation = match fs::read_to_string(root.join(CURRENT_FILE)) {
            Ok(text) => text
                .trim()
                .parse()
                .map_err(|e| failed(io::Error::other(e)))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                data_dir::write_durably(&root.join(CURRENT_FILE), "1\n").map_err(failed)?;
                1
            }
            Err(error) => return Err(failed(error)),
        };
        remove_others(root, generation).map_err(failed)?;
        let engine = RocksEngine::open(&directory(root, generation))?;
        Ok(Self {
            root: root.to_owned(),
            current: ArcSwap::from_pointee(engine),
            exchange: Mutex::new(generation),
        })
    }

    /// The database in use now. Hold it for one read or write, not longer.
    #[must_use]
    pub fn engine(&self) -> Arc<RocksEngine> {
        self.current.load_full()
    }

    /// Puts the checkpoint in `source` in place of the database in use.
    ///
    /// # Errors
    /// When the files cannot be moved or opened. The old database stays in use until the new one is
    /// open and named.
    pub fn install(&self, source: &Path) -> Result<Arc<RocksEngine>, EngineError> {
        let failed = |source: io::Error| EngineError {
            context: "installing a snapshot".to_owned(),
            source: Some(Box::new(source)),
        };
        let mut generation = self.exchange.lock();
        let next = generation.saturating_add(1);
        let path = directory(&self.root, next);
        fs::rename(source, &path).map_err(failed)?;
        data_dir::sync_dir(&self.root).map_err(failed)?;
        let engine = Arc::new(RocksEngine::open(&path)?);
        data_dir::write_durably(&self.root.join(CURRENT_FILE), &format!("{next}\n"))
            .map_err(failed)?;
        self.current.swap(Arc::clone(&engine)).remove_when_closed();
        *generation = next;
        Ok(engine)
    }
}

fn directory(root: &Path, generation: u64) -> PathBuf {
    root.join(format!("{generation:08}"))
}

/// Removes what an interrupted exchange left behind.
fn remove_others(root: &Path, generation: u64) -> io::Result<()> {
    let keep = directory(root, generation);
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() && path != keep {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

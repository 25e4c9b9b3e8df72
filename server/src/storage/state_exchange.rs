//! Replaces a damaged state with another one at startup, before it is used.
//!
//! # Invariants
//! The damaged state stays named as current until the other one is durable and sound. It is then
//! set aside for inspection; only the latest is kept. Its mark stays until the log agrees with the
//! new state.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tenure_statemachine::EngineError;

use super::{
    adapter_record::AdapterRecord,
    checkpoint::{Checkpoint, record_of},
    damage, data_dir,
    rocks_engine::RocksEngine,
    state_store::{directory, in_use, name},
};

/// Followed by the number of the database.
const ASIDE_PREFIX: &str = "state.damaged-";

/// Returns the cause in the damage mark of the state in use below `root`, if it is marked.
///
/// # Errors
/// When the directory cannot be read.
pub fn damage_of(root: &Path) -> Result<Option<String>, EngineError> {
    let read = || damage::noted(&directory(root, in_use(root)?));
    if !root.exists() {
        return Ok(None);
    }
    read().map_err(failed("looking at the state"))
}

/// Whether a damaged state was replaced and [`settle`] has not been called since.
///
/// # Errors
/// When the directory cannot be read.
pub fn is_unsettled(root: &Path) -> Result<bool, EngineError> {
    let marks = damage::marks(root).map_err(failed("looking at the state"))?;
    Ok(!marks.is_empty())
}

/// Removes the marks: the state in use is sound, and the log agrees with it.
///
/// # Errors
/// When a mark cannot be removed.
pub fn settle(root: &Path) -> Result<(), EngineError> {
    let remove = || {
        for mark in damage::marks(root)? {
            fs::remove_file(mark)?;
        }
        data_dir::sync_dir(root)
    };
    remove().map_err(failed("settling the state"))
}

/// Returns the adapter record of the state below `root`: last applied log id and membership. `None`
/// if its files cannot be read.
#[must_use]
pub fn last_record(root: &Path) -> Option<AdapterRecord> {
    let path = directory(root, in_use(root).ok()?);
    record_of(&path).ok().flatten()
}

/// Replaces the damaged state below `root` with a copy of `source`, or with an empty state, and
/// sets the damaged one aside in `beside`. Shares the files of `source`.
///
/// # Errors
/// When files cannot be written, or the new state cannot be opened.
pub fn replace(root: &Path, beside: &Path, source: Option<&Checkpoint>) -> Result<(), EngineError> {
    let exchange = failed("replacing the damaged state");
    let generation = in_use(root).map_err(&exchange)?;
    let next = generation.saturating_add(1);
    let path = directory(root, next);
    match source {
        Some(source) => source.copy_to(&path),
        // Opening creates the empty state: a directory without a database counts as damaged.
        None if path.exists() => fs::remove_dir_all(&path),
        None => Ok(()),
    }
    .map_err(&exchange)?;
    // A database that cannot be opened must not be named.
    let engine = RocksEngine::open(&path)?;
    engine.flush()?;
    drop(engine);
    let finish = || {
        data_dir::sync_dir(&path)?;
        data_dir::sync_dir(root)?;
        name(root, next)?;
        let old = directory(root, generation);
        for aside in set_aside(beside)? {
            fs::remove_dir_all(aside)?;
        }
        if old.exists() {
            fs::rename(old, beside.join(format!("{ASIDE_PREFIX}{generation:08}")))?;
        }
        data_dir::sync_dir(beside)
    };
    finish().map_err(&exchange)
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> EngineError {
    move |source| EngineError {
        context: doing.to_owned(),
        source: Some(Box::new(source)),
    }
}

fn set_aside(beside: &Path) -> io::Result<Vec<PathBuf>> {
    let mut aside = Vec::new();
    for entry in fs::read_dir(beside)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(ASIDE_PREFIX) {
            aside.push(entry.path());
        }
    }
    Ok(aside)
}

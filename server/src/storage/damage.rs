//! The damage mark of a state database. It outlives the process, which ends: the next start
//! replaces the marked state with another one.
//!
//! # Invariants
//! Only damage makes a mark: what RocksDB reports as corruption, such as a checksum mismatch or an
//! unexpected file format; and, when a database does not open, files that are not there. A disk
//! that does not respond makes none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rocksdb::{Error, ErrorKind};
use tenure_statemachine::Fault;
use tracing::{error, warn};

use super::{data_dir, rocks};

/// Extension of the mark's file name; the stem is the name of the database.
const MARK: &str = "damaged";

/// Marks the database in `directory` if `cause` is a corruption.
pub(super) fn note(directory: &Path, cause: &Error) {
    if cause.kind() == ErrorKind::Corruption {
        mark(directory, cause.as_ref());
    }
}

/// Marks the database in `directory`, which did not open, if `cause` is a corruption or a missing
/// file: also the one that `CURRENT` names after one of its digits changed.
pub(super) fn note_unopened(directory: &Path, cause: &Error) {
    if cause.kind() == ErrorKind::Corruption || rocks::is_missing(cause) {
        mark(directory, cause.as_ref());
    }
}

/// Marks the database in `directory` as damaged, with `cause` as the text of the mark.
pub(super) fn mark(directory: &Path, cause: &str) {
    if mark_of(directory).exists() {
        return;
    }
    error!(path = %directory.display(), %cause, "the state is damaged");
    // Without the mark the next start meets the damage again.
    if let Err(error) = data_dir::write_durably(&mark_of(directory), &format!("{cause}\n")) {
        warn!(%error, "the damaged state could not be marked");
    }
}

/// Whether `fault` is damage of the files, rather than a failure to read them.
#[must_use]
pub fn is_damage(fault: &Fault) -> bool {
    match fault {
        Fault::Engine(error) => {
            let source = error.source.as_ref();
            let cause = source.and_then(|source| source.downcast_ref::<Error>());
            cause.is_some_and(rocks::is_damage)
        }
        Fault::Damaged(_) => true,
        _ => false,
    }
}

/// Returns the cause in the damage mark of the database in `directory`, if it is marked.
pub(super) fn noted(directory: &Path) -> io::Result<Option<String>> {
    match fs::read(mark_of(directory)) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the paths of all damage marks in `root`.
pub(super) fn marks(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut marks = Vec::new();
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(marks),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == MARK) {
            marks.push(path);
        }
    }
    Ok(marks)
}

fn mark_of(directory: &Path) -> PathBuf {
    directory.with_extension(MARK)
}

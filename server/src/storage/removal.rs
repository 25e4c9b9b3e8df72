//! Removal of directories of which nothing is in use any more, on threads of its own.
//!
//! The last user of a snapshot or of a replaced state may be a task on the runtime's thread, where
//! heartbeats wait: a file system that discards blocks takes a second to remove some hundred
//! megabytes.
//!
//! Invariant: a directory has its new name before the removal begins, so that nothing finds it half
//! removed. The next start removes what a process that ended has left.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tracing::warn;

use crate::tasks;

/// Behind the name of a directory that is being removed. No name in use ends like this.
const SUFFIX: &str = ".removed";

/// Removes the directory in `path` soon. It is gone from there when this returns.
pub(super) fn remove_later(path: &Path) {
    let aside = match set_aside(path) {
        Ok(aside) => aside,
        Err(error) => return failed(path, &error),
    };
    let what = aside.clone();
    // Few: each is a state or a snapshot that another one replaced.
    if let Err(error) = tasks::spawn_thread("removal", move || remove(&what)) {
        failed(&aside, &error);
    }
}

fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(SUFFIX);
    let aside = PathBuf::from(aside);
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        failed(path, &error);
    }
}

fn failed(path: &Path, error: &io::Error) {
    // The next start tries again.
    warn!(%error, path = %path.display(), "files that are not in use were not removed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_gone_at_once_and_its_files_soon() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("built-1");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("1.sst"), b"rows").unwrap();
        remove_later(&path);
        assert!(!path.exists());
        while fs::read_dir(root.path()).unwrap().next().is_some() {
            std::thread::yield_now();
        }
    }
}

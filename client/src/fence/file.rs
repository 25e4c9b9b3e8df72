//! A file that several processes replace, only under the greatest token seen.
//!
//! The mark is in `<file>.fence`. Invariant: the mark is raised and synced before the file is
//! touched, both under an exclusive lock on `<file>.lock`, so a writer with a smaller token finds
//! the mark even after a crash.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    gate::FenceError,
    marks::{FenceMarks, FileMarks, replace},
};
use crate::id::Token;

/// A file on a disk that several processes share, each with the token of its lock.
///
/// Calls block: use `tokio::task::spawn_blocking` in async code. The file system must support file
/// locks, which not all network file systems do.
///
/// ```no_run
/// use tenure::fence::FileFence;
///
/// # fn example(guard: &tenure::LockGuard) -> Result<(), tenure::fence::FenceError> {
/// let report = FileFence::new("/mnt/shared/report.json", "jobs/report");
/// report.write(guard.token(), b"{}")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FileFence {
    path: PathBuf,
    lock: String,
}

impl FileFence {
    /// Guards the file at `path` by the lock called `lock`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, lock: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            lock: lock.into(),
        }
    }

    /// Replaces the content atomically, also across crashes, unless a greater token was seen.
    ///
    /// # Errors
    /// [`FenceError::Stale`] when a greater token was seen; [`FenceError::Marks`] when I/O failed;
    /// the content is then the old or the new one.
    pub fn write(&self, token: impl Into<Token>, content: &[u8]) -> Result<(), FenceError> {
        self.admitted(token.into(), || replace(&self.path, content))
    }

    /// Raises the mark without touching the file, so that every smaller token is refused. Call it
    /// first after taking over from a holder that may still be writing.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn raise(&self, token: impl Into<Token>) -> Result<(), FenceError> {
        self.admitted(token.into(), || Ok(()))
    }

    /// The path of the fenced file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn admitted(
        &self,
        token: Token,
        work: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), FenceError> {
        if token.get() <= 0 {
            return Err(FenceError::NotAToken(token, self.lock.clone()));
        }
        let failed = |source| FenceError::Marks {
            name: self.lock.clone(),
            source: std::sync::Arc::new(source),
        };
        // Never removed: waiting processes must lock the same file.
        let exclusive = File::create(self.beside(".lock")).map_err(failed)?;
        exclusive.lock().map_err(failed)?;
        let marks = FileMarks::new(self.beside(".fence"));
        let seen = marks.load().map_err(failed)?.get(&self.lock).copied();
        match seen {
            Some(current) if token < current => {
                return Err(FenceError::Stale {
                    name: self.lock.clone(),
                    yours: token,
                    current,
                });
            }
            Some(current) if token == current => {}
            _ => marks.raise(&self.lock, token).map_err(failed)?,
        }
        // Closing the file at the end of this function releases the lock.
        work().map_err(failed)
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    #[test]
    fn a_stale_write_leaves_the_file_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileFence::new(folder.path().join("data"), "lock");
        file.write(Token::new(5), b"five").unwrap();
        file.write(Token::new(9), b"nine").unwrap();
        file.write(Token::new(9), b"nine again").unwrap();
        let error = file.write(Token::new(5), b"late").unwrap_err();
        let text = "token of \"lock\" is stale: yours 5, current 9";
        assert_eq!(error.to_string(), text);
        assert_eq!(fs::read(file.path()).unwrap(), b"nine again");
    }

    #[test]
    fn a_raised_mark_keeps_smaller_tokens_out_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileFence::new(folder.path().join("data"), "lock");
        file.raise(Token::new(9)).unwrap();
        assert!(file.write(Token::new(5), b"late").is_err());
        assert!(!file.path().exists());
        assert!(matches!(
            file.raise(Token::new(0)),
            Err(FenceError::NotAToken(..))
        ));
    }

    #[test]
    fn whoever_writes_at_once_leaves_the_content_of_the_greatest_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        thread::scope(|scope| {
            for token in 1..=8_i64 {
                let file = FileFence::new(&path, "lock");
                // Some are refused, because a greater token came first.
                scope.spawn(move || {
                    file.write(Token::new(token), token.to_string().as_bytes())
                        .is_ok()
                });
            }
        });
        assert_eq!(fs::read(&path).unwrap(), b"8");
    }
}

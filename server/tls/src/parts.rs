//! A value that is read from files, and read again when they change.
//!
//! Invariant: a value that was read once stays in force until another is read whole; files that
//! cannot be used change nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::file::FileError;

/// What is read from files together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The certificate that is shown to those who connect, and its key.
    Certificate,
    /// The certificate that is shown when connecting, and its key.
    ClientCertificate,
    /// The authorities that sign the certificates of others.
    Authorities,
    /// The list of revoked certificates.
    Revocations,
    /// The secret that the members share.
    Secret,
}

impl Part {
    /// Its name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::ClientCertificate => "client certificate",
            Self::Authorities => "authorities",
            Self::Revocations => "revocations",
            Self::Secret => "secret",
        }
    }
}

/// When something that was read expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// What expires.
    pub part: Part,
    /// In seconds since 1970.
    pub at: i64,
}

/// What became of files that changed, or cannot be read any more.
#[derive(Debug)]
pub enum Change {
    /// They were read and are in force.
    Loaded {
        /// What was read.
        part: Part,
        /// The files.
        files: Vec<PathBuf>,
        /// The serial number of the certificate, in hexadecimal.
        serial: Option<String>,
        /// When the certificate expires, in seconds since 1970.
        expires: Option<i64>,
    },
    /// They cannot be used; what was read before stays in force.
    Failed {
        /// What was to be read.
        part: Part,
        /// Names the file and the cause.
        error: FileError,
    },
}

/// Reads a value from its files.
type Read<T> = Box<dyn Fn() -> Result<T, FileError> + Send + Sync>;

/// A value and the files that it is from.
pub(crate) struct Source<T> {
    files: Vec<PathBuf>,
    read: Read<T>,
    value: T,
    seen: Vec<Option<Stamp>>,
    /// The latest failure, until a value is read.
    failure: Option<String>,
}

/// Changes with every write of a file, and when another file takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    seconds: i64,
    nanoseconds: i64,
    bytes: u64,
    device: u64,
    inode: u64,
}

impl<T> Source<T> {
    /// Reads the value for the first time.
    pub(crate) fn open(
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let seen = stamps(&files);
        let value = read()?;
        Ok(Self {
            files,
            read: Box::new(read),
            value,
            seen,
            failure: None,
        })
    }

    pub(crate) const fn value(&self) -> &T {
        &self.value
    }

    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Reads the files again if they changed, or if they could not be used the last time. Returns
    /// what became of them, a failure only once.
    pub(crate) fn refresh(&mut self) -> Option<Result<(), FileError>> {
        let seen = stamps(&self.files);
        if seen == self.seen && self.failure.is_none() {
            return None;
        }
        match (self.read)() {
            Ok(value) => {
                self.value = value;
                self.seen = seen;
                self.failure = None;
                Some(Ok(()))
            }
            Err(error) => {
                let text = error.to_string();
                let is_known = self.failure.as_ref() == Some(&text);
                self.failure = Some(text);
                (!is_known).then_some(Err(error))
            }
        }
    }
}

/// The stamps of files before they are read: a write in between is seen the next time.
fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    Some(Stamp {
        seconds: metadata.mtime(),
        nanoseconds: metadata.mtime_nsec(),
        bytes: metadata.len(),
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::read;

    fn text(path: &Path) -> Source<Vec<u8>> {
        let owned = path.to_owned();
        Source::open(vec![path.to_owned()], move || read(&owned)).expect("it is there")
    }

    #[test]
    fn files_that_cannot_be_read_keep_the_value_and_are_reported_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("value");
        fs::write(&path, "first").unwrap();
        let mut source = text(&path);
        assert!(source.refresh().is_none(), "nothing changed");
        fs::remove_file(&path).unwrap();
        let error = source.refresh().expect("a change").expect_err("no file");
        assert!(error.to_string().contains("value"), "{error}");
        assert!(source.refresh().is_none(), "it was reported");
        assert_eq!(source.value(), b"first");
        fs::write(&path, "second").unwrap();
        source.refresh().expect("a change").expect("it is back");
        assert_eq!(source.value(), b"second");
    }

    #[test]
    fn a_file_that_takes_the_place_of_another_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("value");
        fs::write(&path, "first").unwrap();
        let mut source = text(&path);
        let other = directory.path().join("other");
        fs::write(&other, "other").unwrap();
        fs::rename(&other, &path).unwrap();
        source.refresh().expect("a change").expect("it is read");
        assert_eq!(source.value(), b"other");
    }
}

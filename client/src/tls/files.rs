//! Certificates in files, which are read again for each connection.
//!
//! Whole files are compared, and not their times, which a file system may keep too coarsely to tell
//! two writes apart: the files are small, and connections are rare.
//!
//! Invariant: a value that was read stays in force until another was read whole; files that cannot
//! be used change nothing, and are reported once.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use super::config;
use crate::error::Error;

/// Longest file that is read, in bytes: far more than the bundle of authorities of any system has.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Makes the value of the contents of its files.
type Parse<T> = fn(&[Vec<u8>]) -> Result<T, Error>;

/// A value that is made of files.
pub(super) struct Source<T> {
    files: Vec<PathBuf>,
    parse: Parse<T>,
    held: Mutex<Held<T>>,
}

struct Held<T> {
    contents: Vec<Vec<u8>>,
    value: T,
    /// The text of the latest failure, until the files can be used.
    failure: Option<String>,
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.files).finish()
    }
}

impl<T: Clone> Source<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when one cannot be read or used; the text
    /// names it.
    pub(super) fn open(files: Vec<PathBuf>, parse: Parse<T>) -> Result<Self, Error> {
        let contents = contents(&files)?;
        let value = parse(&contents).map_err(|error| named(&files, &error))?;
        let held = Mutex::new(Held {
            contents,
            value,
            failure: None,
        });
        Ok(Self { files, parse, held })
    }

    /// Reads the files again. Returns the value that is in force, and why the files cannot be used
    /// unless that was returned before. Blocks on the file system.
    pub(super) fn current(&self) -> (T, Option<Error>) {
        // The lock is held meanwhile, so that nothing newer is overwritten.
        let mut held = self.held.lock();
        let made = match contents(&self.files) {
            Ok(contents) if contents == held.contents => Ok(None),
            Ok(contents) => match (self.parse)(&contents) {
                Ok(value) => Ok(Some((contents, value))),
                Err(error) => Err(named(&self.files, &error)),
            },
            Err(error) => Err(error),
        };
        let failure = match made {
            Ok(new) => {
                if let Some((contents, value)) = new {
                    (held.contents, held.value) = (contents, value);
                }
                held.failure = None;
                None
            }
            Err(error) => {
                let is_known = held.failure.as_deref() == Some(error.message());
                held.failure = Some(error.message().to_owned());
                (!is_known).then_some(error)
            }
        };
        (held.value.clone(), failure)
    }
}

fn contents(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, Error> {
    let contents = files.iter().map(|file| {
        read(file).map_err(|error| config(format!("{} cannot be read: {error}", file.display())))
    });
    contents.collect()
}

/// Reads a whole file within the bound.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut bounded = File::open(path)?.take(FILE_BYTES_MAX + 1);
    let length = bounded.read_to_end(&mut bytes)?;
    if length as u64 > FILE_BYTES_MAX {
        let text = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::other(text));
    }
    Ok(bytes)
}

fn named(files: &[PathBuf], error: &Error) -> Error {
    let names: Vec<_> = files.iter().map(|it| it.display().to_string()).collect();
    config(format!("{}: {}", names.join(" and "), error.message()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The text of two files, neither of which may be empty, in one.
    fn joined(contents: &[Vec<u8>]) -> Result<String, Error> {
        if contents.iter().any(Vec::is_empty) {
            return Err(config("it is empty"));
        }
        Ok(String::from_utf8(contents.concat()).unwrap())
    }

    #[test]
    fn a_value_is_made_again_of_files_that_changed_and_stays_while_they_are_of_no_use() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["one", "two"].map(|name| directory.path().join(name));
        assert!(Source::open(files.to_vec(), joined).is_err(), "no files");
        fs::write(&files[0], "a").unwrap();
        fs::write(&files[1], "b").unwrap();
        let source = Source::open(files.to_vec(), joined).unwrap();
        fs::write(&files[0], "c").unwrap();
        let (value, failure) = source.current();
        assert_eq!((value.as_str(), failure.is_none()), ("cb", true));

        fs::write(&files[0], "").unwrap();
        let (value, failure) = source.current();
        let failure = failure.expect("an empty file is of no use");
        assert_eq!(value, "cb");
        assert!(failure.message().contains("one and "), "{failure}");
        assert!(source.current().1.is_none(), "it was reported");
        fs::remove_file(&files[0]).unwrap();
        let (value, failure) = source.current();
        assert_eq!(value, "cb");
        let failure = failure.expect("another reason");
        assert!(failure.message().contains("cannot be read"), "{failure}");

        fs::write(&files[0], "d").unwrap();
        let (value, failure) = source.current();
        assert_eq!((value.as_str(), failure.is_none()), ("db", true));
        fs::write(&files[0], "").unwrap();
        assert!(source.current().1.is_some(), "it failed anew");
    }
}

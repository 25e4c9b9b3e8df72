//! The file of the audit log: appended to, reopened after it was moved away, rotated by size.
//!
//! A tool such as logrotate may rename the file at any time: before each line the file at the path
//! is compared with the open one, and opened anew when they differ. No signal is needed.
//!
//! Invariant: a line is written whole to one file, and the file is readable by its owner alone.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Older files that are kept, as `PATH.1` (the latest) to `PATH.5`.
const KEPT: u32 = 5;

/// The open file.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    /// Size at which the file is put aside; `None` to let it grow.
    bytes_max: Option<u64>,
    /// `None` after a failure; the next line opens it again.
    open: Option<File>,
}

impl AuditFile {
    pub(super) fn open(path: PathBuf, bytes_max: Option<u64>) -> io::Result<Self> {
        let open = Some(append(&path)?);
        Ok(Self {
            path,
            bytes_max,
            open,
        })
    }

    /// The file at the path, with space for `added` bytes.
    fn current(&mut self, added: u64) -> io::Result<&mut File> {
        let open = match self.open.take() {
            Some(open) if is_at(&open, &self.path)? => open,
            _ => append(&self.path)?,
        };
        let bytes = open.metadata()?.len();
        let full = |max| bytes > 0 && bytes.saturating_add(added) > max;
        let open = if self.bytes_max.is_some_and(full) {
            self.put_aside()?;
            append(&self.path)?
        } else {
            open
        };
        Ok(self.open.insert(open))
    }

    /// Renames the file, and those before it; the oldest is overwritten.
    fn put_aside(&self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            match fs::rename(self.kept(number), self.kept(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.kept(1))
    }

    fn kept(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for AuditFile {
    /// Writes all of `line`, which is one line or more.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let added = line.len() as u64;
        let written = self.current(added)?.write_all(line);
        if written.is_err() {
            self.open = None;
        }
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).open(path)
}

/// Whether the open file is still the one at the path.
fn is_at(open: &File, path: &Path) -> io::Result<bool> {
    let open = open.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read(path: impl AsRef<Path>) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_that_was_moved_away_is_left_and_another_begun() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        fs::write(&path, "before\n").unwrap();
        let mut file = AuditFile::open(path.clone(), None).unwrap();
        file.write_all(b"one\n").unwrap();
        let moved = dir.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(read(&moved), "before\none\n", "an old file is kept");
        assert_eq!(read(&path), "two\n");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "other\n").unwrap();
        file.write_all(b"three\n").unwrap();
        assert_eq!(read(&path), "other\nthree\n");
    }

    #[test]
    fn a_full_file_is_put_aside_and_five_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut file = AuditFile::open(path.clone(), Some(8)).unwrap();
        for number in 0..8 {
            file.write_all(format!("line {number}\n").as_bytes())
                .unwrap();
        }
        assert_eq!(read(&path), "line 7\n");
        assert_eq!(read(dir.path().join("audit.log.1")), "line 6\n");
        assert_eq!(read(dir.path().join("audit.log.5")), "line 2\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6);
        file.write_all(b"a line that is longer than a file\n")
            .unwrap();
        assert_eq!(read(&path), "a line that is longer than a file\n");
    }

    #[test]
    fn only_the_owner_can_read_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        AuditFile::open(path.clone(), None).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn after_a_failure_the_next_line_opens_the_file_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("audit.log");
        let mut file = AuditFile::open(path.clone(), None).unwrap();
        let away = dir.path().join("away");
        fs::rename(&folder, &away).unwrap();
        assert!(file.write_all(b"lost\n").is_err());
        fs::rename(&away, &folder).unwrap();
        file.write_all(b"written\n").unwrap();
        assert_eq!(read(&path), "written\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_reported_at_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(AuditFile::open(dir.path().join("no/such/folder"), None).is_err());
    }
}

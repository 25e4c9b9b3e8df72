//! The `owner` file of a state database or a snapshot, which names its data directory.
//!
//! A log id names a term and a leader, and both repeat when a member is created again, so a
//! database copied from another data directory may appear to match the log. The file is not part of
//! a snapshot transfer.
//!
//! # Invariants
//! An unreadable file is refused. A missing file is accepted, and created: databases of earlier
//! versions and freshly received snapshots have none.

use std::{fs, io, path::Path};

use tenure_statemachine::EngineError;

use super::{data_dir::write_durably, identity_file::with_checksum};

/// Name of the file. RocksDB ignores names that it does not know.
pub(super) const OWNER_FILE: &str = "owner";

const HEAD: &str = "format = 1\ninstance_id = ";

/// Records durably that the database in `path` belongs to the data directory `instance`.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn claim(path: &Path, instance: u64) -> Result<(), EngineError> {
    write_durably(&path.join(OWNER_FILE), &format(instance)).map_err(|source| EngineError {
        context: format!("writing down whose {} is", path.display()),
        source: Some(Box::new(source)),
    })
}

/// Checks that the database in `path` belongs to the data directory `instance`. Claims a database
/// without an owner file.
///
/// # Errors
/// When it belongs to another data directory, or when the file cannot be read or is damaged.
pub(super) fn check(path: &Path, instance: u64) -> Result<(), EngineError> {
    let file = path.join(OWNER_FILE);
    let refused = |context| {
        Err(EngineError {
            context,
            source: None,
        })
    };
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return claim(path, instance),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(source) => {
            return Err(EngineError {
                context: format!("reading {}", file.display()),
                source: Some(Box::new(source)),
            });
        }
    };
    match parse(&text) {
        Some(found) if found == instance => Ok(()),
        Some(found) => refused(format!(
            "{} belongs to data directory {found:016x}, and this one is {instance:016x}: it was \
             copied from another member or from an earlier life of this one; put the right one \
             back, or replace the member: remove it and add it again with an empty data directory",
            path.display()
        )),
        None => refused(format!(
            "{} is damaged: its content and its checksum do not match; remove the file if the \
             database beside it is known to be this member's",
            file.display()
        )),
    }
}

fn format(instance: u64) -> String {
    with_checksum(format!("{HEAD}{instance:016x}\n"))
}

/// Returns the instance id if the text is byte for byte the output of [`format`].
fn parse(text: &str) -> Option<u64> {
    let digits = text.strip_prefix(HEAD)?.lines().next()?;
    let instance = u64::from_str_radix(digits, 16).ok()?;
    (format(instance) == text).then_some(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_belongs_to_the_directory_that_first_took_it() {
        let root = tempfile::tempdir().unwrap();
        check(root.path(), 0xA).unwrap();
        check(root.path(), 0xA).unwrap();
        let error = check(root.path(), 0xB).unwrap_err().to_string();
        assert!(error.contains("000000000000000a"), "{error}");
        claim(root.path(), 0xB).unwrap();
        check(root.path(), 0xB).unwrap();
    }

    #[test]
    fn the_text_is_pinned_and_a_damaged_one_is_refused() {
        let root = tempfile::tempdir().unwrap();
        claim(root.path(), 0x0123_4567_89ab_cdef).unwrap();
        let file = root.path().join(OWNER_FILE);
        let sound = fs::read(&file).unwrap();
        let text = String::from_utf8(sound.clone()).unwrap();
        assert!(text.starts_with("format = 1\ninstance_id = 0123456789abcdef\nchecksum = "));
        for at in 0..sound.len() {
            let flipped = [&sound[..at], &[sound[at] ^ 1], &sound[at + 1..]].concat();
            for bytes in [flipped, sound[..at].to_vec()] {
                fs::write(&file, bytes).unwrap();
                let error = check(root.path(), 0x0123_4567_89ab_cdef).unwrap_err();
                assert!(error.to_string().contains("owner is damaged"), "{error}");
            }
        }
    }
}

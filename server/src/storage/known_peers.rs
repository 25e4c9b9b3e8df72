//! The `peers` file: the instance ids of the other members, as this node first met them.
//!
//! It does not decide which members to remember.
//!
//! # Invariants
//! An id counts only once it is durable. An unreadable file is refused, never treated as empty.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use super::{data_dir::write_durably, identity_file::with_checksum};

const HEAD: &str = "format = 1\n";

/// Instance ids by member id.
#[derive(Debug)]
pub struct KnownPeers {
    path: PathBuf,
    instances: Mutex<BTreeMap<u64, u64>>,
}

impl KnownPeers {
    /// Reads the file, which does not exist before the first member is met.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn open(path: &Path) -> io::Result<Self> {
        let instances = match fs::read_to_string(path) {
            Ok(text) => parse(&text).ok_or_else(|| damaged(path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(damaged(path)),
            Err(error) => return Err(error),
        };
        Ok(Self {
            path: path.to_owned(),
            instances: Mutex::new(instances),
        })
    }

    /// Returns the instance id of `member`, if known.
    #[must_use]
    pub fn get(&self, member: u64) -> Option<u64> {
        self.instances.lock().get(&member).copied()
    }

    /// Whether no member is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instances.lock().is_empty()
    }

    /// Stores the instance id of `member` durably. Blocks on the disk, a few times in the life of a
    /// directory.
    ///
    /// # Errors
    /// When the file cannot be written; the id is not stored then.
    pub fn remember(&self, member: u64, instance: u64) -> io::Result<()> {
        let mut instances = self.instances.lock();
        let mut changed = instances.clone();
        changed.insert(member, instance);
        debug_assert_eq!(
            parse(&format(&changed)).as_ref(),
            Some(&changed),
            "the peers are read as they were written"
        );
        write_durably(&self.path, &format(&changed))?;
        *instances = changed;
        Ok(())
    }
}

fn damaged(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{} is damaged: its content and its checksum do not match; remove the file, and this \
             member meets the others anew",
            path.display()
        ),
    )
}

fn format(instances: &BTreeMap<u64, u64>) -> String {
    let mut text = HEAD.to_owned();
    for (member, instance) in instances {
        text.push_str(&format!("{member:016x} = {instance:016x}\n"));
    }
    with_checksum(text)
}

/// Returns the ids if the text is byte for byte the output of [`format`].
fn parse(text: &str) -> Option<BTreeMap<u64, u64>> {
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let instances = text
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .filter(|(member, _)| member.len() == 16)
        .map(|(member, instance)| Some((number(member)?, number(instance)?)))
        .collect::<Option<BTreeMap<_, _>>>()?;
    (format(&instances) == text).then_some(instances)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_were_met_are_remembered() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("peers");
        let known = KnownPeers::open(&path).unwrap();
        assert_eq!(known.get(1), None);
        assert!(known.is_empty());
        known.remember(1, 0xA).unwrap();
        known.remember(u64::MAX, 0xB).unwrap();
        let known = KnownPeers::open(&path).unwrap();
        assert_eq!((known.get(1), known.get(u64::MAX)), (Some(0xA), Some(0xB)));
        assert!(!known.is_empty());
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("peers");
        KnownPeers::open(&path).unwrap().remember(1, 0xA).unwrap();
        let sound = fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let flipped = [&sound[..at], &[sound[at] ^ 1], &sound[at + 1..]].concat();
            for bytes in [flipped, sound[..at].to_vec()] {
                fs::write(&path, bytes).unwrap();
                let error = KnownPeers::open(&path).expect_err("damage is noticed");
                assert!(error.to_string().contains("peers"), "{error}");
            }
        }
    }
}

//! The files of a data directory at rest, and what is done to one of them.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

/// What is done to a file. The places are shares of its length in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutation {
    Flip(usize),
    Cut(usize),
    Empty,
    Missing,
    /// The same file of an earlier copy.
    Older,
}

/// One case of the matrix.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// Relative to the data directory.
    pub(super) file: PathBuf,
    pub(super) mutation: Mutation,
}

impl Case {
    /// The file's name without its number.
    pub(super) fn kind(&self) -> PathBuf {
        kind(&self.file)
    }
}

fn kind(file: &Path) -> PathBuf {
    let name = file.to_string_lossy();
    name.replace(|c: char| c.is_ascii_digit(), "").into()
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.file.display(), self.mutation)
    }
}

/// Every mutation of the whole matrix.
const ALL: [Mutation; 9] = [
    Mutation::Flip(40),
    Mutation::Flip(400),
    Mutation::Flip(700),
    Mutation::Flip(995),
    Mutation::Cut(500),
    Mutation::Cut(990),
    Mutation::Empty,
    Mutation::Missing,
    Mutation::Older,
];

/// All cases for the files in `directory`: one file of each kind, and all tables of the state.
pub(super) fn cases(directory: &Path) -> Vec<Case> {
    let mut kinds = BTreeMap::new();
    for file in files(directory, directory) {
        let is_table = file.starts_with("state") && file.extension().is_some_and(|it| it == "sst");
        let kind = if is_table { file.clone() } else { kind(&file) };
        kinds.insert(kind, file);
    }
    // A log that RocksDB keeps for people, and the lock, have no content that counts.
    kinds.retain(|_, file| !["LOG", "lock"].iter().any(|name| file.ends_with(name)));
    let each = |file: PathBuf| {
        ALL.map(|mutation| Case {
            file: file.clone(),
            mutation,
        })
    };
    kinds.into_values().flat_map(each).collect()
}

/// Every `step`th case, which are of all kinds of files and of all mutations.
pub(super) fn sample(cases: Vec<Case>, step: usize) -> Vec<Case> {
    cases.into_iter().step_by(step).collect()
}

/// The files below `path`, relative to `root`.
fn files(root: &Path, path: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(root, &path));
        } else {
            all.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
    all.sort();
    all
}

/// Does it to the file in `directory`; false when there is nothing to do. What shares the bytes on
/// the disk with it is damaged, too.
pub(super) fn damage(directory: &Path, case: &Case, older: &Path) -> bool {
    let path = directory.join(&case.file);
    let Ok(sound) = fs::read(&path) else {
        return false;
    };
    // A segment of the log is filled up with zeros.
    let written = sound
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let place = |share: usize| written * share / 1000;
    let stored = match case.mutation {
        Mutation::Flip(share) => {
            let mut content = sound.clone();
            let Some(byte) = content.get_mut(place(share)) else {
                return false;
            };
            *byte ^= 0x10;
            content
        }
        Mutation::Cut(share) => sound[..place(share)].to_vec(),
        Mutation::Empty => Vec::new(),
        Mutation::Missing => {
            fs::remove_file(&path).unwrap();
            return true;
        }
        Mutation::Older => match fs::read(older.join(&case.file)) {
            Ok(content) => content,
            Err(_) => return false,
        },
    };
    if stored == sound {
        return false;
    }
    // In place: a table of the state is the same file as the newest snapshot's.
    fs::write(&path, stored).unwrap();
    true
}

/// Makes `to` a copy of `from`, in which files are shared as they are there.
pub(super) fn copy(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    let status = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .unwrap();
    assert!(status.success(), "cp: {status}");
}

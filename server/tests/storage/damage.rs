//! Damage to every file of a data directory but the log's: everything acknowledged is there, or the
//! directory is refused by name.
//!
//! A part of the offsets with the other tests; `TENURE_DAMAGE=all`, which `make damage` sets, tries
//! many more.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use tenured::fatal;

mod fixture;
mod opened;

use self::{
    fixture::{Fixture, Kept, copy},
    opened::Found,
};

/// Bits flipped in each file, and places where it is cut short.
const FEW: usize = 3;
const MANY: usize = 96;
/// The tail of a table of the state, which says where everything in it lies.
const FOOTER_BYTES: usize = 64;

/// What is done to a file.
#[derive(Clone, Debug)]
enum Mutation {
    /// Flips a bit of this byte.
    Flip(usize),
    /// Leaves so many bytes.
    Cut(usize),
    Missing,
    /// The file of that name in the older copy.
    Older,
    /// The file of that name in the directory of another instance.
    Other,
    /// Another file of the same directory in its place.
    Sibling(PathBuf),
}

#[derive(Debug, Default)]
struct Outcomes {
    files: usize,
    mutations: usize,
    whole: usize,
    refused: usize,
    /// Damage that changed or lost something, and was not told.
    silent: Vec<String>,
    /// Refusals after which the directory was not whole with the damage undone.
    worse: Vec<String>,
    /// Refusals that name no file.
    nameless: Vec<String>,
    /// What refusals say, with the first that said so.
    words: BTreeMap<String, String>,
}

impl Outcomes {
    fn note(&mut self, what: String, found: Result<Found, opened::Failure>, sound: &Found) {
        self.mutations += 1;
        match found {
            Ok(found) if found == *sound => self.whole += 1,
            Ok(found) => self.silent.push(format!("{what}: {found:?}")),
            Err(failure) => {
                self.refused += 1;
                let said = fatal::chain(&*failure);
                if !said.contains("/damaged") {
                    self.nameless.push(format!("{what}: {said}"));
                }
                let kind: String = said.chars().filter(|c| !c.is_ascii_digit()).collect();
                self.words.entry(kind).or_insert(format!("{what}: {said}"));
            }
        }
    }

    fn print(&self, title: &str) {
        println!(
            "{title}: {} files, {} mutations: {} with all data, {} refused by name, \
             {} silent losses",
            self.files,
            self.mutations,
            self.whole,
            self.refused,
            self.silent.len()
        );
        for said in self.words.values() {
            println!("  {said}");
        }
    }

    fn assert_none_silent(&self) {
        assert_eq!(self.silent, Vec::<String>::new());
        assert_eq!(self.nameless, Vec::<String>::new());
        assert_eq!(self.worse, Vec::<String>::new());
    }
}

fn is_thorough() -> bool {
    env::var("TENURE_DAMAGE").is_ok_and(|what| what == "all")
}

/// All that is done to a file of so many bytes.
fn mutations(path: &Path, length: usize, siblings: &[PathBuf]) -> Vec<Mutation> {
    let places = if is_thorough() { MANY } else { FEW };
    let spread = |at: usize| at * length / places + at * 7 % (length / places).max(1);
    let mut all = vec![Mutation::Missing, Mutation::Older, Mutation::Other];
    all.extend((0..places.min(length)).map(|at| Mutation::Flip(spread(at) % length)));
    all.extend((0..places.min(length)).map(|at| Mutation::Cut(spread(at) % length)));
    all.extend(length.checked_sub(1).map(Mutation::Cut));
    if is_thorough() {
        let footer = length.saturating_sub(FOOTER_BYTES);
        all.extend((footer..length).map(Mutation::Flip));
    }
    let place = siblings.iter().position(|it| it == path).unwrap_or(0);
    let next = &siblings[(place + 1) % siblings.len()];
    if next != path {
        all.push(Mutation::Sibling(next.clone()));
    }
    all
}

/// Makes a copy of the sound directory without its log; files are shared, and none is written to.
fn link(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            if !path.ends_with("log") {
                link(&path, &target);
            }
        } else {
            fs::hard_link(&path, &target).unwrap();
        }
    }
}

/// The files below `path` but those of the log, relative to `root`.
fn files(root: &Path, path: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("log") {
                all.extend(files(root, &path));
            }
        } else {
            all.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
    all.sort();
    all
}

/// Where the damage lies: a snapshot shares the bytes on the disk with the state.
fn places(fixture: &Fixture, file: &Path, mutation: &Mutation) -> Vec<PathBuf> {
    let mut places = vec![file.to_owned()];
    if matches!(mutation, Mutation::Flip(_) | Mutation::Cut(_)) && is_table(file) {
        let name = file.file_name();
        places = files(&fixture.sound(), &fixture.sound());
        places.retain(|place| place.file_name() == name);
    }
    places
}

/// Puts the sound file back where the damaged one still is in use.
fn undo(fixture: &Fixture, file: &Path, mutation: &Mutation) -> bool {
    for place in places(fixture, file, mutation) {
        let path = fixture.damaged().join(&place);
        if !path.parent().is_some_and(Path::exists) {
            return false;
        }
        fs::copy(fixture.sound().join(&place), path).unwrap();
    }
    true
}

/// Replaces a file, and what shares its bytes on the disk when it is the bytes that are damaged.
fn damage(fixture: &Fixture, file: &Path, mutation: &Mutation) -> bool {
    let damaged = fixture.damaged();
    let sound = fs::read(fixture.sound().join(file)).unwrap();
    let stored = match mutation {
        Mutation::Flip(at) => {
            let mut content = sound;
            content[*at] ^= 1 << (at % 8);
            Some(content)
        }
        Mutation::Cut(length) => Some(sound[..*length].to_vec()),
        Mutation::Missing => None,
        Mutation::Older | Mutation::Other => {
            let source = match mutation {
                Mutation::Older => fixture.older(),
                _ => fixture.other(),
            };
            match fs::read(source.join(file)) {
                Ok(content) if content != sound => Some(content),
                _ => return false,
            }
        }
        Mutation::Sibling(other) => Some(fs::read(fixture.sound().join(other)).unwrap()),
    };
    for place in places(fixture, file, mutation) {
        let path = damaged.join(place);
        fs::remove_file(&path).unwrap();
        if let Some(content) = &stored {
            fs::write(&path, content).unwrap();
        }
    }
    true
}

/// A table of the state; a snapshot shares its file with the state.
fn is_table(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "sst")
}

/// Tries everything on every file.
async fn run(fixture: &Fixture, title: &str) -> Outcomes {
    let whole = fixture.damaged();
    let reference = fixture.reference();
    copy(&fixture.sound(), &reference);
    let mut log = opened::log(&reference).unwrap();
    let sound = opened::start(&reference, &mut log).await.unwrap();
    let all = files(&fixture.sound(), &fixture.sound());
    let mut outcomes = Outcomes {
        files: all.len(),
        ..Outcomes::default()
    };
    for file in &all {
        let length = fs::metadata(fixture.sound().join(file)).unwrap().len() as usize;
        let siblings: Vec<_> = all
            .iter()
            .filter(|other| other.parent() == file.parent())
            .cloned()
            .collect();
        for mutation in mutations(file, length, &siblings) {
            link(&fixture.sound(), &whole);
            if damage(fixture, file, &mutation) {
                let found = opened::start(&whole, &mut log).await;
                let what = format!("{} {mutation:?}", file.display());
                if found.is_err() && undo(fixture, file, &mutation) {
                    let again = opened::start(&whole, &mut log).await;
                    if again.as_ref().ok() != Some(&sound) {
                        outcomes
                            .worse
                            .push(format!("{what}: {found:?}, undone: {again:?}"));
                    }
                }
                outcomes.note(what, found, &sound);
            }
            fs::remove_dir_all(&whole).unwrap();
        }
    }
    outcomes.print(title);
    outcomes
}

/// Directories that are lost, put back from an older copy, or taken from another instance.
async fn run_directories(fixture: &Fixture, title: &str) -> Outcomes {
    let reference = fixture.reference();
    let mut log = opened::log(&reference).unwrap();
    let sound = opened::start(&reference, &mut log).await.unwrap();
    let whole = fixture.damaged();
    let mut outcomes = Outcomes::default();
    for directory in ["state", "state/00000001", "snapshots", "log"] {
        outcomes.files += 1;
        for (source, path) in [
            ("missing", None),
            ("older", Some(fixture.older())),
            ("another's", Some(fixture.other())),
        ] {
            copy(&fixture.sound(), &whole);
            fs::remove_dir_all(whole.join(directory)).unwrap();
            if let Some(path) = path {
                copy(&path.join(directory), &whole.join(directory));
            }
            let found = match opened::log(&whole) {
                Ok(mut log) => opened::start(&whole, &mut log).await,
                Err(error) => Err(format!("{}: {error}", whole.display()).into()),
            };
            outcomes.note(format!("{directory}/ {source}"), found, &sound);
            fs::remove_dir_all(&whole).unwrap();
        }
    }
    outcomes.print(title);
    outcomes
}

#[tokio::test]
async fn damage_beside_a_whole_log_is_harmless_or_refused_by_name() {
    let fixture = Fixture::write(Kept::All).await;
    let outcomes = run(&fixture, "a directory whose log has everything").await;
    outcomes.assert_none_silent();
    let outcomes = run_directories(&fixture, "its directories").await;
    outcomes.assert_none_silent();
}

#[tokio::test]
async fn damage_to_what_the_log_no_longer_has_is_harmless_or_refused_by_name() {
    let fixture = Fixture::write(Kept::Tail).await;
    let outcomes = run(&fixture, "a directory whose log was purged").await;
    outcomes.assert_none_silent();
    assert!(outcomes.refused > 0 && outcomes.whole > 0);
    let outcomes = run_directories(&fixture, "its directories").await;
    outcomes.assert_none_silent();
}

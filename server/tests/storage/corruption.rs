//! Damage to every byte of every file of a synced log: all of it is there, or the log is refused by
//! name. The same check on the log that earlier versions kept shows that the check bites.

use std::{collections::BTreeMap, fs, path::Path};

use tenured::storage::{Fact, LogDisk, LogWrite, RocksLog, SegmentLog};

use crate::{
    expected::{Expected, put},
    model_files::ModelFiles,
    recovery::{OPTIONS, OWNER},
};

type Files = BTreeMap<String, Vec<u8>>;

const SECTOR: usize = 512;
#[derive(Debug, Default)]
struct Outcomes {
    mutations: usize,
    whole: usize,
    refused: usize,
    /// Which mutations lost something, and said nothing.
    lost: Vec<(String, usize)>,
    /// Refusals that do not say where.
    nameless: Vec<String>,
}

impl Outcomes {
    fn note(&mut self, what: &str, at: usize, files: Files, expected: &Expected) {
        self.mutations += 1;
        let files = ModelFiles::new(files).shared();
        let found = SegmentLog::open(&files, OWNER, OPTIONS).and_then(|log| Expected::of(&log));
        match found {
            Ok(found) if found == *expected => self.whole += 1,
            Ok(_) => self.lost.push((what.to_owned(), at)),
            Err(error) => {
                self.refused += 1;
                let named = error.to_string();
                if !named.contains(".log") && !named.contains("copy") {
                    self.nameless.push(format!("{what} {at}: {named}"));
                }
            }
        }
    }

    fn print(&self, files: &Files, title: &str) {
        println!(
            "{title}: {} files, {} mutations: {} with all data, {} refused by name, \
             {} silent losses",
            files.len(),
            self.mutations,
            self.whole,
            self.refused,
            self.lost.len()
        );
    }
}

/// Writes a log with entries, a truncation, a purge, a vote, several segments, and a spare.
fn written(last: &[LogWrite], rest: bool) -> (Files, Expected) {
    let files = ModelFiles::new(Files::new());
    SegmentLog::create(&files.shared(), OWNER, OPTIONS).unwrap();
    let log = SegmentLog::open(&files.shared(), OWNER, OPTIONS).unwrap();
    let mut expected = Expected::default();
    let mut store = |writes: &[LogWrite]| {
        log.write(writes).unwrap();
        log.sync().unwrap();
        writes.iter().for_each(|write| expected.apply(write));
    };
    store(&[LogWrite::Fact(Fact::Vote, b"vote 1".to_vec())]);
    for index in 0..60 {
        store(&[
            put(index, 1, 300),
            LogWrite::Fact(Fact::Committed, vec![index as u8; 4]),
        ]);
    }
    store(&[LogWrite::Remove(50, u64::MAX)]);
    store(&[LogWrite::Fact(Fact::Vote, b"vote 2".to_vec())]);
    store(&[put(50, 2, 200), put(51, 2, 2500), put(52, 2, 10)]);
    store(&[
        LogWrite::Remove(0, 25),
        LogWrite::Fact(Fact::Purged, b"24".to_vec()),
    ]);
    for index in 53..90 {
        store(&[put(index, 2, 400), put(index + 1, 2, 90)][..1]);
    }
    store(last);
    if rest {
        log.rest().unwrap();
    }
    let found = Expected::of(&log).unwrap();
    assert_eq!(found, expected);
    (files.after_kill(), expected)
}

fn single() -> Vec<LogWrite> {
    vec![put(90, 2, 250)]
}

fn large() -> Vec<LogWrite> {
    vec![put(90, 2, 700), put(91, 2, 900)]
}

/// Flips a bit in every byte of every file.
fn flipped(files: &Files, expected: &Expected, outcomes: &mut Outcomes) {
    for (name, content) in files {
        for at in 0..content.len() {
            let mut files = files.clone();
            if let Some(content) = files.get_mut(name) {
                content[at] ^= 1 << (at % 8);
            }
            outcomes.note(name, at, files, expected);
        }
    }
}

/// Does to whole sectors and files what disks, tools and people do.
fn mangled(files: &Files, expected: &Expected, outcomes: &mut Outcomes) {
    let names: Vec<_> = files.keys().cloned().collect();
    for (place, name) in names.iter().enumerate() {
        let content = &files[name];
        let mut note = |at: usize, content: Option<Vec<u8>>| {
            let mut files = files.clone();
            match content {
                Some(content) => files.insert(name.clone(), content),
                None => files.remove(name),
            };
            outcomes.note(name, at, files, expected);
        };
        for at in (0..content.len()).step_by(SECTOR) {
            let mut zeroed = content.clone();
            zeroed[at..at + SECTOR].fill(0);
            note(at, Some(zeroed));
        }
        for length in [0, 1, SECTOR, content.len() / 2, content.len() - 1] {
            note(length, Some(content[..length].to_vec()));
        }
        note(content.len(), Some([&content[..], &[0; SECTOR]].concat()));
        note(0, None);
        let other = &names[(place + 1) % names.len()];
        note(0, Some(files[other].clone()));
        let mut swapped = files.clone();
        swapped.insert(name.clone(), files[other].clone());
        swapped.insert(other.clone(), content.clone());
        outcomes.note(name, 0, swapped, expected);
        for copy in ["0000000000000001.log", "0000000000000063.log", "notes.log"] {
            let mut copied = files.clone();
            copied.insert(copy.to_owned(), content.clone());
            outcomes.note(name, 0, copied, expected);
        }
    }
}

#[test]
fn damage_anywhere_in_a_synced_log_is_harmless_or_refused_by_name() {
    for last in [single(), large()] {
        let (files, expected) = written(&last, true);
        assert!(files.len() >= 4, "too few files: {:?}", files.keys());
        let mut outcomes = Outcomes::default();
        flipped(&files, &expected, &mut outcomes);
        mangled(&files, &expected, &mut outcomes);
        outcomes.print(&files, "a log at rest");
        assert!(outcomes.refused > 1000 && outcomes.whole > 1000);
        assert_eq!(outcomes.lost, []);
        assert_eq!(outcomes.nameless, Vec::<String>::new());
    }
}

/// A process that was killed right after a sync had no time to vouch for it. What is left then:
/// damage to the last batch behind its first sector, or that whole sector gone.
#[test]
fn damage_before_the_log_came_to_rest_can_only_hide_in_the_very_last_batch() {
    for (last, hidden) in [(single(), 0), (large(), 1)] {
        let (files, expected) = written(&last, false);
        let mut outcomes = Outcomes::default();
        flipped(&files, &expected, &mut outcomes);
        outcomes.print(&files, "a log that was killed");
        let (segment, begin) = last_batch(&files);
        for (name, at) in &outcomes.lost {
            assert_eq!(*name, segment);
            assert!((begin + SECTOR..begin + 2048).contains(at), "{at} {begin}");
        }
        assert_eq!(!outcomes.lost.is_empty(), hidden == 1);
        assert_eq!(outcomes.nameless, Vec::<String>::new());
    }
}

/// The last segment with batches, and where the last of them begins.
fn last_batch(files: &Files) -> (String, usize) {
    let begin = |content: &Vec<u8>| {
        (4096..content.len())
            .step_by(SECTOR)
            .filter(|at| content[*at..at + 4] == *b"tnrB")
            .rfind(|at| content[at + 8..at + 16] == content[48..56])
    };
    let segments = files.iter().filter(|(name, _)| name.ends_with(".log"));
    segments
        .filter_map(|(name, content)| begin(content).map(|at| (name.clone(), at)))
        .next_back()
        .unwrap()
}

/// The reason for the log's own format.
#[test]
fn the_same_damage_to_a_log_in_a_database_loses_records_silently() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let log = RocksLog::open(&path).unwrap();
    let mut expected = Expected::default();
    for index in 0..200 {
        let write = [put(index, 1, 300)];
        log.write(&write).unwrap();
        log.sync().unwrap();
        expected.apply(&write[0]);
    }
    drop(log);
    let (name, length) = newest_wal(&path);
    let content = fs::read(path.join(&name)).unwrap();
    let (mut lost, mut tried) = (0, 0);
    for at in (length / 20..length).step_by(length / 10) {
        let damaged = root.path().join(format!("damaged-{at}"));
        fs::create_dir(&damaged).unwrap();
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), damaged.join(entry.file_name())).unwrap();
        }
        let mut content = content.clone();
        content[at] ^= 0x10;
        fs::write(damaged.join(&name), content).unwrap();
        tried += 1;
        if let Ok(log) = RocksLog::open(&damaged)
            && Expected::of(&log).unwrap() != expected
        {
            lost += 1;
        }
    }
    println!("a log in a database: {tried} flipped bits, {lost} silent losses");
    assert!(lost > tried / 2, "{lost} of {tried}");
}

/// The write-ahead file of a database, and how much of it was written.
fn newest_wal(path: &Path) -> (String, usize) {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".log"))
        .map(|name| {
            let content = fs::read(path.join(&name)).unwrap();
            let written = content.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            (name, written)
        })
        .max_by_key(|(_, written)| *written)
        .unwrap()
}

//! Recovery of the segmented log against a model: writes, syncs, torn writes, reuse, truncations,
//! purges, and a disk that fails in the middle of any of them.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::StdRng};
use tenured::storage::{Fact, LogDisk, LogOptions, LogOwner, LogWrite, SegmentLog};

use crate::{
    expected::{Expected, put},
    model_files::ModelFiles,
    store::SyncMode,
    unsynced::Unsynced,
};

pub(crate) const OWNER: LogOwner = LogOwner {
    cluster_id: 0xC,
    member_id: 0xAB,
    instance_id: 0x1,
};

/// Small segments, so that a short test goes through many.
pub(crate) const OPTIONS: LogOptions = LogOptions {
    segment_bytes: 16 << 10,
    background: false,
};

const SEEDS: u64 = 400;
const CRASHES: usize = 12;

#[test]
fn after_any_crash_every_synced_write_is_there_and_no_other_than_was_written() {
    let (mut crashes, mut long, mut recycled) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut run = Run::new(seed, SyncMode::Real);
        for _ in 0..CRASHES {
            run.until_crash().unwrap();
            crashes += 1;
        }
        long += usize::from(run.sequence_seen > 4);
        recycled += usize::from(run.spare_seen);
    }
    println!("{crashes} crashes; {long} long logs, {recycled} logs with files for reuse");
    assert!(long > SEEDS as usize / 4, "{long} logs were long");
    assert!(recycled > SEEDS as usize / 4, "{recycled} logs had spares");
}

#[test]
fn a_log_that_says_so_without_a_sync_is_caught() {
    let caught = (0..40).filter(|seed| {
        let mut run = Run::new(*seed, SyncMode::Skipped);
        (0..CRASHES).any(|_| run.until_crash().is_err())
    });
    let caught = caught.count();
    assert!(caught > 30, "{caught} of 40");
}

#[test]
fn an_idle_log_that_is_asked_whether_it_answers_does_not_grow() {
    let files = ModelFiles::new(BTreeMap::new());
    SegmentLog::create(&files.shared(), OWNER, OPTIONS).unwrap();
    let log = SegmentLog::open(&files.shared(), OWNER, OPTIONS).unwrap();
    let asked = [LogWrite::Fact(Fact::Committed, vec![1; 20])];
    log.write(&asked).unwrap();
    log.sync().unwrap();
    let bytes = log.bytes();
    for _ in 0..1000 {
        log.write(&asked).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(log.bytes(), bytes);
    // It does ask: a disk that is gone answers no sync.
    files.fail_after(0);
    log.write(&asked).unwrap();
    log.sync().unwrap_err();
}

/// What a sync did not write counts as written from then on, and is still read: a log that was
/// opened after that and said what it read is durable lost it when the power was cut.
#[test]
fn what_a_log_has_after_a_failed_sync_and_another_start_survives_a_power_cut() {
    let mut random = StdRng::seed_from_u64(4);
    let mut rewritten = 0;
    for syncs in 1..80 {
        let files = ModelFiles::new(BTreeMap::new());
        SegmentLog::create(&files.shared(), OWNER, OPTIONS).unwrap();
        let log = SegmentLog::open(&files.shared(), OWNER, OPTIONS).unwrap();
        files.fail_syncs_after(syncs);
        let mut synced = 0;
        for index in 0.. {
            let mut writes = vec![put(index, 1, random.random_range(0..3000))];
            if index % 7 == 3 {
                writes.push(LogWrite::Fact(Fact::Vote, index.to_be_bytes().into()));
            }
            if log.write(&writes).and_then(|()| log.sync()).is_err() {
                break;
            }
            synced = index + 1;
        }
        drop(log);
        // The system still reads what the disk did not take.
        files.fail_syncs_after(u64::MAX);
        let log = SegmentLog::open(&files.shared(), OWNER, OPTIONS).unwrap();
        let found = Expected::of(&log).unwrap();
        let count = found.entries.len() as u64;
        assert!(count >= synced, "{count} of {synced}");
        rewritten += count - synced;
        if random.random_bool(0.5) {
            // A later batch says that what is before it is durable.
            log.write(&[put(count, 1, 10)]).unwrap();
        }
        drop(log);
        let files = ModelFiles::new(files.after_power_cut(&mut random));
        let log = SegmentLog::open(&files.shared(), OWNER, OPTIONS)
            .unwrap_or_else(|error| panic!("after {syncs} syncs: {error}"));
        let mut after = Expected::of(&log).unwrap();
        after.entries.remove(&count);
        assert!(after == found, "after {syncs} syncs, of {count} entries");
    }
    assert!(
        rewritten > 20,
        "{rewritten} entries were read and not synced"
    );
}

struct Run {
    seed: u64,
    random: StdRng,
    files: ModelFiles,
    log: Box<dyn LogDisk>,
    term: u64,
    /// What a sync covered, and what was written since.
    synced: Expected,
    since: Vec<LogWrite>,
    next: u64,
    sequence_seen: u64,
    spare_seen: bool,
    sync: SyncMode,
}

impl Run {
    fn new(seed: u64, sync: SyncMode) -> Self {
        let files = ModelFiles::new(BTreeMap::new());
        SegmentLog::create(&files.shared(), OWNER, OPTIONS).unwrap();
        let log = open(&files, sync).unwrap();
        Self {
            sync,
            spare_seen: false,
            seed,
            random: StdRng::seed_from_u64(seed),
            files,
            log,
            term: 1,
            synced: Expected::default(),
            since: Vec::new(),
            next: 0,
            sequence_seen: 1,
        }
    }

    fn until_crash(&mut self) -> Result<(), String> {
        self.files.fail_after(self.random.random_range(0..60));
        while self.step().is_ok() {}
        let left = if self.random.random_bool(0.3) {
            self.files.after_kill()
        } else {
            self.files.after_power_cut(&mut self.random)
        };
        self.restart(left)
    }

    fn restart(&mut self, left: BTreeMap<String, Vec<u8>>) -> Result<(), String> {
        self.spare_seen |= left.keys().any(|name| name.ends_with(".spare"));
        self.sequence_seen = left.keys().map(|name| sequence(name)).max().unwrap_or(0);
        self.files = ModelFiles::new(left);
        // It may crash again while it recovers.
        if self.random.random_bool(0.2) {
            self.files.fail_after(self.random.random_range(0..4));
            drop(open(&self.files, self.sync));
            let left = self.files.after_power_cut(&mut self.random);
            self.files = ModelFiles::new(left);
        }
        let seed = self.seed;
        self.log = open(&self.files, self.sync)
            .map_err(|e| format!("seed {seed}: a crash made the log unusable: {e}"))?;
        let found = Expected::of(&*self.log).unwrap();
        let mut state = self.synced.clone();
        let mut written = self.since.iter();
        while state != found {
            match written.next() {
                Some(write) => state.apply(write),
                None => {
                    let (synced, found) = (keys(&self.synced), keys(&found));
                    return Err(format!("seed {seed}: synced {synced:?}, found {found:?}"));
                }
            }
        }
        self.synced = found;
        self.since.clear();
        self.term += 1;
        if let Some(last) = self.synced.entries.keys().next_back() {
            self.next = last + 1;
        }
        Ok(())
    }

    fn now(&self) -> Expected {
        let mut state = self.synced.clone();
        self.since.iter().for_each(|write| state.apply(write));
        state
    }

    fn step(&mut self) -> std::io::Result<()> {
        match self.random.random_range(0..10) {
            0..=4 => {
                let writes = self.writes();
                self.since.extend(writes.iter().cloned());
                self.log.write(&writes)
            }
            5..=7 => {
                self.log.sync()?;
                self.synced = self.now();
                self.since.clear();
                Ok(())
            }
            8 => self.log.rest(),
            _ => {
                let now = self.now();
                assert_eq!(Expected::of(&*self.log)?, now, "seed {}", self.seed);
                let start = self.random.random_range(0..=self.next);
                let bytes_max = self.random.random_range(0..6000);
                let found = self.log.read(start, self.next, bytes_max)?;
                let mut expected = now.entries.range(start..);
                for (index, entry) in &found {
                    assert_eq!(expected.next(), Some((index, &entry.to_vec())));
                }
                assert_eq!(
                    found.is_empty(),
                    now.entries.range(start..).next().is_none()
                );
                Ok(())
            }
        }
    }

    /// One write of up to some entries, after a truncation, a purge or a fact.
    fn writes(&mut self) -> Vec<LogWrite> {
        let mut writes = Vec::new();
        let now = self.now();
        let (first, last) = (now.entries.keys().next(), now.entries.keys().next_back());
        if let (Some(first), Some(last)) = (first, last) {
            match self.random.random_range(0..12) {
                0 => {
                    let from = self.random.random_range(*first..=last + 1);
                    writes.push(LogWrite::Remove(from, u64::MAX));
                    self.next = from;
                }
                1 | 2 => {
                    let reach = self.random.random_range(*first..=last + 3);
                    writes.push(LogWrite::Remove(first.saturating_sub(2), reach));
                    writes.push(LogWrite::Fact(Fact::Purged, reach.to_be_bytes().into()));
                    self.next = self.next.max(reach);
                }
                3 => writes.push(LogWrite::Fact(Fact::Committed, vec![self.term as u8; 9])),
                4 => {
                    self.term += 1;
                    writes.push(LogWrite::Fact(Fact::Vote, self.term.to_be_bytes().into()));
                }
                _ => {}
            }
        }
        for _ in 0..self.random.random_range(0..5) {
            let bytes = match self.random.random_range(0..40) {
                0 => self.random.random_range(9_000..30_000),
                1..=9 => self.random.random_range(1000..5000),
                _ => self.random.random_range(0..400),
            };
            writes.push(put(self.next, self.term, bytes));
            self.next += 1;
        }
        writes
    }
}

fn open(files: &ModelFiles, sync: SyncMode) -> std::io::Result<Box<dyn LogDisk>> {
    let log = SegmentLog::open(&files.shared(), OWNER, OPTIONS)?;
    Ok(match sync {
        SyncMode::Real => Box::new(log),
        SyncMode::Skipped => Box::new(Unsynced(log)),
    })
}

fn sequence(name: &str) -> u64 {
    name.strip_suffix(".log")
        .map_or(0, |number| u64::from_str_radix(number, 16).unwrap())
}

fn keys(state: &Expected) -> Option<(u64, u64)> {
    let (first, last) = (
        state.entries.keys().next(),
        state.entries.keys().next_back(),
    );
    first.copied().zip(last.copied())
}

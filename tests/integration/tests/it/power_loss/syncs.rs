//! What a sync is worth while the power is cut, without a node: the measure of the simulation.
//!
//! A file that grows needs the file system's journal for a sync. Linux answers such a sync with
//! success when the cut has ended the journal's transaction before it looks: ext4 says "synced" and
//! the bytes are not there. That comes only after the cut began, and not for a file whose blocks
//! are laid out already. So an answer that leaves after a cut tells of the simulation and not of
//! the node, and the log, which is laid out before it is written, does not even give such answers.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tenure_testkit::{Cut, PowerDisks};

use super::{Tally, cycles, disks};

/// Bytes of one record, and how many a file has room for.
const RECORD: usize = 4096;
const RECORDS_MAX: u64 = 2048;
/// How long there is writing after a cut: syncs that were under way have answered by then.
const AFTER: Duration = Duration::from_millis(50);

#[test]
fn nothing_is_lost_that_was_synced_before_the_cut_and_nothing_at_all_in_a_file_laid_out_before() {
    let Some(disks) = disks(1) else { return };
    for is_laid_out in [false, true] {
        let mut all = Tally::default();
        for cycle in 0..cycles() {
            cut(&disks, cycle, is_laid_out, &mut all);
        }
        let kind = if is_laid_out {
            "laid out before"
        } else {
            "that grows"
        };
        println!("{} cuts of a file {kind}: {all:?}", cycles());
        assert_eq!(all.lost_before, 0, "{kind}: {all:?}");
        assert!(!is_laid_out || all.lost_after == 0, "{all:?}");
    }
}

fn cut(disks: &PowerDisks, cycle: usize, is_laid_out: bool, all: &mut Tally) {
    let path = disks.data().join("m0").join("synced");
    let (file, mark) = (
        Arc::new(begin(&path, is_laid_out).unwrap()),
        cycle as u64 + 1,
    );
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (file, stop) = (Arc::clone(&file), Arc::clone(&stop));
        thread::spawn(move || write(&file, mark, &stop))
    };
    // Time is the subject: the cut comes at another moment of a sync each time.
    thread::sleep(Duration::from_millis(10 + cycle as u64 * 7 % 30));
    let cut = disks.cut(&[0]);
    // And here what is answered for a while after it.
    thread::sleep(AFTER);
    stop.store(true, Ordering::Relaxed);
    let synced = writer.join().unwrap();
    drop(file);
    disks.restore(0);
    let found = fs::read(&path).unwrap();
    for (number, at) in synced {
        tally(all, &found, (number, mark), at, cut);
    }
    fs::remove_file(&path).unwrap();
}

/// A new file, with its blocks laid out and written once, or without any.
fn begin(path: &Path, is_laid_out: bool) -> io::Result<File> {
    let file = File::options().write(true).create_new(true).open(path)?;
    if is_laid_out {
        file.write_all_at(&vec![0; RECORD * RECORDS_MAX as usize], 0)?;
    }
    file.sync_all()?;
    let directory: PathBuf = path.parent().unwrap().into();
    File::open(directory)?.sync_all()?;
    Ok(file)
}

/// Writes and syncs one record after the other until it fails; when each sync was answered.
fn write(file: &File, mark: u64, stop: &AtomicBool) -> Vec<(u64, Instant)> {
    let mut synced = Vec::new();
    for number in 0..RECORDS_MAX {
        let written = file
            .write_all_at(&record(number, mark), number * RECORD as u64)
            .and_then(|()| file.sync_data());
        if written.is_err() || stop.load(Ordering::Relaxed) {
            break;
        }
        synced.push((number, Instant::now()));
    }
    synced
}

fn record(number: u64, mark: u64) -> Vec<u8> {
    let words = [number, mark].map(u64::to_be_bytes).concat();
    words.repeat(RECORD / words.len())
}

fn tally(all: &mut Tally, found: &[u8], (number, mark): (u64, u64), at: Instant, cut: Cut) {
    let from = number as usize * RECORD;
    let is_kept = found.get(from..from + RECORD) == Some(&record(number, mark)[..]);
    let (count, lost) = all.of(at <= cut.begun);
    *count += 1;
    *lost += usize::from(!is_kept);
}

//! Transfers over a link that breaks after a given number of chunks, without a network.

use std::cell::Cell;

use bytes::Bytes;
use tenure_proto::peer::SnapshotHeader;
use tenure_statemachine::engine::{Engine, Table, WriteBatch, WriteOp};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{receive::write_files, send::read_files, *};
use crate::{
    storage::{AdapterRecord, Checkpoint, RocksEngine, SnapshotDir},
    tasks,
};

/// The data directory that the snapshots of these tests come from.
const SENDER: u64 = 7;
/// Files of a state, few enough not to be compacted, and bytes of each: a few chunks.
const FILES: u64 = 2;
const FILE_BYTES: usize = 9 * CHUNK_BYTES / 2;

/// A slow link takes hours for a large snapshot, and every chunk is progress. Time is the subject,
/// and the clock is paused.
#[tokio::test(start_paused = true)]
async fn a_transfer_lasts_as_long_as_it_makes_progress() {
    let (progress, seen) = watch::channel(());
    let watchdog = tasks::spawn("watchdog", send::stalled(seen));
    for _ in 0..100 {
        sleep(STALL_MAX / 2).await;
        progress.send_replace(());
        assert!(!watchdog.is_finished());
    }
    sleep(STALL_MAX * 2).await;
    assert!(watchdog.is_finished());
}

/// Two members' directories, and a link between them that breaks after a given number of chunks.
struct Link {
    root: tempfile::TempDir,
    engine: RocksEngine,
    sent: SnapshotDir,
    received: SnapshotDir,
}

impl Link {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let open = |name| SnapshotDir::open(&root.path().join(name)).unwrap().0;
        let (sent, received) = (open("sent"), open("received"));
        let engine = RocksEngine::open(&root.path().join("state")).unwrap();
        Self {
            root,
            engine,
            sent,
            received,
        }
    }

    /// Adds a file to the state for each of `files`, and builds a snapshot.
    fn grown(&self, files: std::ops::Range<u64>) -> Checkpoint {
        for file in files {
            let value: Vec<u8> = (0..FILE_BYTES as u64)
                .map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ file) >> 40) as u8)
                .collect();
            let key = Bytes::from(file.to_be_bytes().to_vec());
            let put = WriteOp::Put(Table::History, key, value.into());
            let ops = vec![put];
            self.engine.write(WriteBatch { ops }).unwrap();
            self.engine.flush().unwrap();
        }
        self.sent.build(&self.engine).unwrap().1
    }

    /// Runs one attempt, which ends after `chunks` of data. Returns the bytes sent and whether it
    /// completed.
    async fn attempt(&self, checkpoint: &Checkpoint, chunks: u32) -> (u64, bool) {
        let (_, held) = held_files(&self.received, SENDER).await.unwrap();
        let held = held_to(held);
        let (queue, queued) = mpsc::channel(1000);
        let (passed, left, names) = (Cell::new(0), Cell::new(chunks), Cell::new(Vec::new()));
        let push = |chunk: SnapshotChunk| {
            match &chunk.part {
                Some(Part::Header(header)) => {
                    names.set(header.file_names.clone());
                    return true;
                }
                Some(Part::Data(_)) if left.get() == 0 => return false,
                Some(Part::Data(data)) => {
                    left.set(left.get() - 1);
                    passed.set(passed.get() + data.len() as u64);
                }
                _ => {}
            }
            queue.try_send(chunk).is_ok()
        };
        read_files(checkpoint, SnapshotHeader::default(), &held, &push).unwrap();
        drop(queue);
        let (mut turn, _) = self.received.incoming().take().await;
        let directory = turn.directory(SENDER, &names.take()).unwrap();
        // The receiving side blocks, and all chunks are queued already.
        let written = tasks::spawn_blocking(move || {
            write_files(&directory, queued, &mut || turn.changes()).is_ok()
        });
        (passed.get(), written.await.unwrap())
    }

    async fn arrived(&self) -> bool {
        let (mut turn, _) = self.received.incoming().take().await;
        let record = AdapterRecord::default();
        let checked = self.received.check(&mut turn, SENDER, &record);
        checked.is_ok() && self.received.complete(&mut turn, SENDER).is_ok()
    }
}

fn total(checkpoint: &Checkpoint) -> u64 {
    checkpoint.bytes().unwrap().total
}

#[tokio::test]
async fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let link = Link::new();
    let checkpoint = link.grown(0..FILES);
    let (mut passed, mut attempts) = (0, 0);
    loop {
        let (bytes, whole) = link.attempt(&checkpoint, 2).await;
        passed += bytes;
        attempts += 1;
        if whole {
            break;
        }
    }
    assert!(attempts > 3, "it was to break off: {attempts}");
    assert_eq!(passed, total(&checkpoint), "no byte twice");
    assert!(link.arrived().await);
}

#[tokio::test]
async fn a_newer_snapshot_is_sent_without_the_files_that_are_the_same() {
    let link = Link::new();
    let first = link.grown(0..FILES);
    let (kept, whole) = link.attempt(&first, 5).await;
    assert!(!whole);
    let second = link.grown(FILES..FILES + 1);
    let (rest, whole) = link.attempt(&second, u32::MAX).await;
    assert!(whole);
    assert!(rest < total(&second) - kept / 2, "{rest} after {kept}");
    assert!(link.arrived().await);
}

/// A held file may be damaged, or another file of the same name: its checksum decides.
#[tokio::test]
async fn what_is_held_and_differs_is_sent_again() {
    let link = Link::new();
    let checkpoint = link.grown(0..FILES);
    let (kept, _) = link.attempt(&checkpoint, 5).await;
    let (mut turn, _) = link.received.incoming().take().await;
    let names: Vec<_> = checkpoint
        .files()
        .unwrap()
        .into_iter()
        .map(|it| it.0)
        .collect();
    let directory = turn.directory(SENDER, &names).unwrap();
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(first) = bytes.first_mut() {
            *first ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
    }
    drop(turn);
    let (passed, whole) = link.attempt(&checkpoint, u32::MAX).await;
    assert!(whole && kept > 0);
    assert_eq!(passed, total(&checkpoint), "nothing of it was of use");
    assert!(link.arrived().await);
}

#[tokio::test]
async fn a_transfer_goes_on_after_the_receiver_was_started_again() {
    let mut link = Link::new();
    let checkpoint = link.grown(0..FILES);
    let (kept, _) = link.attempt(&checkpoint, 5).await;
    link.received = SnapshotDir::open(&link.root.path().join("received"))
        .unwrap()
        .0;
    let (rest, whole) = link.attempt(&checkpoint, u32::MAX).await;
    assert!(whole);
    assert_eq!(kept + rest, total(&checkpoint));
    assert!(link.arrived().await);
}

/// A verified snapshot is not verified again when nothing was received since: a link that breaks
/// every few seconds would never leave the time for it.
#[tokio::test]
async fn a_snapshot_is_checked_once_however_often_the_link_breaks_meanwhile() {
    let link = Link::new();
    let checkpoint = link.grown(0..FILES);
    let record = AdapterRecord::default();
    assert!(link.attempt(&checkpoint, u32::MAX).await.1);
    let (mut turn, _) = link.received.incoming().take().await;
    assert!(!turn.is_whole(&record));
    link.received.check(&mut turn, SENDER, &record).unwrap();
    drop(turn);
    let (passed, whole) = link.attempt(&checkpoint, 0).await;
    assert!(whole, "nothing was missing");
    assert_eq!(passed, 0);
    let (mut turn, _) = link.received.incoming().take().await;
    assert!(turn.is_whole(&record));
    turn.changes();
    assert!(!turn.is_whole(&record));
}

#[tokio::test]
async fn files_that_do_not_make_a_checkpoint_are_refused_before_the_exchange() {
    let link = Link::new();
    let (mut turn, _) = link.received.incoming().take().await;
    let directory = turn.directory(SENDER, &[]).unwrap();
    std::fs::write(directory.join("CURRENT"), "no manifest").unwrap();
    drop(turn);
    assert!(!link.arrived().await);
    let (_, held) = held_files(&link.received, SENDER).await.unwrap();
    assert_eq!(held, [], "what is no checkpoint is not gone on from");
}

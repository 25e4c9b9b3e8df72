//! What replication is told of entries that are purged while it reads them.

use std::{
    fmt, io,
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use futures::FutureExt;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use tenured::{
    clock::RuntimeClock,
    storage::{Fact, LogDisk, LogStore, LogWrite},
};

use crate::{
    lagging::{blank, id, open},
    step_disk::StepDisk,
};

type Work = Box<dyn FnOnce(&StepDisk) + Send>;

/// A disk during whose next read something else happens first.
struct Meanwhile {
    disk: StepDisk,
    work: Mutex<Option<Work>>,
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meanwhile").finish_non_exhaustive()
    }
}

impl LogDisk for Meanwhile {
    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        self.disk.write(writes)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }

    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let work = self.work.lock().unwrap().take();
        if let Some(work) = work {
            work(&self.disk);
        }
        self.disk.read(start, end, bytes_max)
    }

    fn last_index(&self) -> io::Result<Option<u64>> {
        self.disk.last_index()
    }

    fn fact(&self, fact: Fact) -> io::Result<Option<Vec<u8>>> {
        self.disk.fact(fact)
    }

    fn bytes(&self) -> u64 {
        self.disk.bytes()
    }
}

/// Entries 0 to 9, of which none is in memory.
async fn ten() -> Arc<Meanwhile> {
    let disk = Arc::new(StepDisk::default());
    let mut log = open(Arc::clone(&disk));
    for index in 0..10 {
        log.append([blank(index)], IOFlushed::noop()).await.unwrap();
    }
    drop(log);
    Arc::new(Meanwhile {
        disk: StepDisk::holding(disk.after_crash()),
        work: Mutex::default(),
    })
}

/// A follower that is sent later entries in place of those it lacks finds a gap in its log, and
/// ends.
#[tokio::test]
async fn entries_that_are_purged_while_replication_reads_them_are_not_skipped() {
    let disk = ten().await;
    let over: Arc<Meanwhile> = Arc::clone(&disk);
    let mut log = LogStore::open(over, RuntimeClock::shared(), Arc::new(|_| {})).unwrap();
    let mut purging = log.clone();
    *disk.work.lock().unwrap() = Some(Box::new(move |disk| {
        let purged = purging.purge(id(4)).now_or_never();
        purged.expect("the writer has room").unwrap();
        while !disk.read(2, 3, 0).unwrap().is_empty() {
            thread::yield_now();
        }
    }));
    assert_eq!(log.limited_get_log_entries(2, 10).await.unwrap(), []);
    let held = log.limited_get_log_entries(5, 10).await.unwrap();
    let held: Vec<u64> = held.iter().map(|entry| entry.log_id.index).collect();
    assert_eq!(held, [5, 6, 7, 8, 9]);
}

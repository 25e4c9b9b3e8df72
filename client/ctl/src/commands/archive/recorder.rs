//! Writes an archive: a snapshot, then every revision after it, by a watch of all keys.
//!
//! Invariant: what was published as durable is on disk, and revisions have no gap. When the server
//! has compacted what is missing, another snapshot begins a new series.

use std::{
    collections::HashSet,
    fs::{self, File},
    time::{Duration, SystemTime},
};

use anyhow::{Context, anyhow};
use tenure::{Client, ErrorKind, KeyRange, LeaseId, Update, Watcher};
use tenure_backup::{
    Chunk, Revision,
    archive::{ArchivedChange, ArchivedRevision, FRAME_BYTES_MAX, SegmentHeader, encode, span},
    file::SnapshotFile,
    schema::{KeyValue, Lease},
};
use tokio::{
    sync::watch,
    time::{Instant, interval, timeout},
};

use super::{folder::Folder, segment_writer::SegmentWriter};
use crate::{
    commands::{print_message, snapshot},
    failure::Failure,
    replication::{Head, RevisionChanges, by_revision, read_patiently},
};

/// How often it is told how far the archive has come, as `make-mirror` does.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);
/// How often it is looked whether there is something to do while nothing changes.
const IDLE_INTERVAL: Duration = Duration::from_millis(200);
/// Leases that are remembered as known. Beyond that, all are asked for again.
const KNOWN_LEASES_MAX: usize = 100_000;
/// Snapshots that may be taken in a row without a change archived after any: the server compacts
/// faster than snapshots are saved.
const SNAPSHOTS_IN_A_ROW_MAX: u32 = 5;

/// Sizes and times of an archive.
#[derive(Debug, Clone, Copy)]
pub(in crate::commands) struct RecorderOptions {
    pub(in crate::commands) segment_bytes: u64,
    pub(in crate::commands) snapshot_interval: Duration,
}

/// Writes an archive.
#[derive(Debug)]
pub(in crate::commands) struct Recorder {
    client: Client,
    folder: Folder,
    options: RecorderOptions,
    cluster_id: u64,
    segment: SegmentWriter,
    known_leases: HashSet<i64>,
    snapshot_due: Instant,
}

impl Recorder {
    /// Opens the archive, or begins it with a snapshot.
    pub(in crate::commands) async fn begin(
        client: &Client,
        folder: Folder,
        options: RecorderOptions,
    ) -> Result<Self, Failure> {
        let header = read_patiently(async || client.get("\0").count_only().await).await?;
        let header = header.header();
        let cluster_id = header.cluster_id();
        let segment = match last_segment(&folder)? {
            Some(segment) => {
                let known = segment.header().cluster_id;
                if known != cluster_id {
                    let text = format!(
                        "{} is an archive of cluster {known:x}, and the server is of cluster \
                         {cluster_id:x}: archive into another folder",
                        folder.path().display()
                    );
                    return Err(anyhow!(text).into());
                }
                let (last, head) = (segment.last().0, header.revision().get());
                if head < last {
                    let text = format!(
                        "the server is at revision {head}, before that of the archive, {last}: it \
                         was restored, or the endpoint lags"
                    );
                    return Err(anyhow!(text).into());
                }
                segment
            }
            None => series(client, &folder, cluster_id).await?,
        };
        Ok(Self {
            client: client.clone(),
            folder,
            options,
            cluster_id,
            segment,
            known_leases: HashSet::new(),
            snapshot_due: Instant::now() + options.snapshot_interval,
        })
    }

    /// The last revision in the archive.
    pub(in crate::commands) fn last(&self) -> tenure::Revision {
        tenure::Revision::new(self.segment.last().0)
    }

    pub(in crate::commands) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Archives until `until` is reached, if it is set, and publishes what is durable. Reports how
    /// far it is behind `head`.
    ///
    /// Cancel safe: what is not durable is read again by the next run.
    pub(in crate::commands) async fn run(
        &mut self,
        until: Option<tenure::Revision>,
        durable: &watch::Sender<tenure::Revision>,
        head: Option<&Head>,
    ) -> Result<(), Failure> {
        let mut snapshots = 0;
        loop {
            let before = self.last();
            let ended = self.follow(until, durable, head).await;
            match ended {
                Err(Failure::Call(error)) if error.kind() == ErrorKind::Compacted => {
                    snapshots = if self.last() > before {
                        1
                    } else {
                        snapshots + 1
                    };
                    if snapshots > SNAPSHOTS_IN_A_ROW_MAX {
                        return Err(Failure::Call(error));
                    }
                    print_message(format_args!(
                        "the server has compacted changes after revision {}: they are missing in \
                         the archive, and a snapshot begins a new series",
                        self.last().get()
                    ));
                    self.segment = series(&self.client, &self.folder, self.cluster_id).await?;
                    self.snapshot_due = Instant::now() + self.options.snapshot_interval;
                    _ = durable.send_replace(self.last());
                }
                outcome => return outcome,
            }
        }
    }

    async fn follow(
        &mut self,
        until: Option<tenure::Revision>,
        durable: &watch::Sender<tenure::Revision>,
        head: Option<&Head>,
    ) -> Result<(), Failure> {
        let start = self.segment.last().0 + 1;
        let mut watcher = self.watch(start).await?;
        let mut report = interval(REPORT_INTERVAL);
        report.reset();
        while until.is_none_or(|until| self.last() < until) {
            if Instant::now() >= self.snapshot_due {
                self.another_snapshot().await?;
            }
            // Cancel safe: an update stays in the watcher until it is returned.
            if let Ok(update) = timeout(IDLE_INTERVAL, watcher.next()).await {
                let ended = || anyhow!("the server ended the watch");
                self.append(update.ok_or_else(ended)??).await?;
                _ = durable.send_replace(self.last());
            }
            if let Some(head) = head
                && timeout(Duration::ZERO, report.tick()).await.is_ok()
            {
                let (last, lag) = (self.last(), head.lag(self.last()));
                print_message(format_args!("archived to revision {}, {lag}", last.get()));
            }
        }
        Ok(())
    }

    async fn watch(&self, start: i64) -> Result<Watcher, Failure> {
        let revision = tenure::Revision::new(start);
        let watcher = read_patiently(async || {
            let watch = self.client.watch(KeyRange::all());
            watch
                .start_revision(revision)
                .fragment()
                .require_leader()
                .await
        });
        Ok(watcher.await?)
    }

    /// Appends all revisions of an update, durably, and begins another segment if this one is full.
    async fn append(&mut self, update: Update) -> Result<(), Failure> {
        let time_ms = now_ms();
        let mut frames = Vec::new();
        let mut last = self.segment.last();
        for changes in by_revision(update) {
            let revision = Revision(changes.revision.get());
            if revision.0 != last.0 + 1 {
                let text = format!(
                    "revision {} follows {}: the server does not tell every change",
                    revision.0, last.0
                );
                return Err(anyhow!(text).into());
            }
            let archived = self.archived(changes, time_ms).await?;
            let frame = encode(&archived).ok_or_else(|| {
                anyhow!(
                    "revision {} has more than {FRAME_BYTES_MAX} bytes",
                    revision.0
                )
            })?;
            frames.extend_from_slice(&frame);
            last = revision;
        }
        if frames.is_empty() {
            return Ok(());
        }
        let written = self.segment.append(&frames, last);
        written.with_context(|| format!("cannot write into {}", self.folder.path().display()))?;
        if self.segment.bytes() >= self.options.segment_bytes {
            let header = SegmentHeader {
                cluster_id: self.cluster_id,
                after: last,
                time_ms,
            };
            self.segment = SegmentWriter::create(&self.folder, header)?;
        }
        Ok(())
    }

    async fn archived(
        &mut self,
        changes: RevisionChanges,
        time_ms: u64,
    ) -> Result<ArchivedRevision, Failure> {
        let mut leases = Vec::new();
        for event in &changes.events {
            let Some(lease) = event.kv().lease() else {
                continue;
            };
            if self.known_leases.len() >= KNOWN_LEASES_MAX {
                self.known_leases.clear();
            }
            if self.known_leases.insert(lease.get()) {
                leases.extend(self.lease(lease).await?);
            }
        }
        let changes_of = changes.events.into_iter().map(|event| {
            let deleted = event.is_delete();
            let kv = record(event.into_kv());
            ArchivedChange { deleted, kv }
        });
        Ok(ArchivedRevision {
            revision: changes.revision.get(),
            time_ms,
            changes: changes_of.collect(),
            leases,
        })
    }

    /// What the server knows of a lease; nothing when it has ended meanwhile.
    async fn lease(&self, id: LeaseId) -> Result<Option<Lease>, Failure> {
        let leases = || self.client.leases();
        let found = read_patiently(async || leases().time_to_live(id).await).await?;
        Ok(found.remaining().map(|_| Lease {
            id: id.get(),
            ttl: i64::try_from(found.granted_ttl().as_secs()).unwrap_or(i64::MAX),
            remaining_ttl: 0,
        }))
    }

    /// Saves another snapshot in the series. Changes go on meanwhile, and are archived after it.
    async fn another_snapshot(&mut self) -> Result<(), Failure> {
        let revision = save(&self.client, &self.folder).await?;
        print_message(format_args!("saved a snapshot of revision {}", revision.0));
        self.snapshot_due = Instant::now() + self.options.snapshot_interval;
        Ok(())
    }
}

/// The last segment, opened to be appended to.
fn last_segment(folder: &Folder) -> Result<Option<SegmentWriter>, Failure> {
    while let Some((_, path)) = folder.segments()?.pop() {
        if let Some(segment) = SegmentWriter::reopen(&path)? {
            return Ok(Some(segment));
        }
    }
    Ok(None)
}

/// Begins a series: a snapshot, and the segment after it.
async fn series(
    client: &Client,
    folder: &Folder,
    cluster_id: u64,
) -> Result<SegmentWriter, Failure> {
    let revision = save(client, folder).await?;
    print_message(format_args!("saved a snapshot of revision {}", revision.0));
    let header = SegmentHeader {
        cluster_id,
        after: revision,
        time_ms: now_ms(),
    };
    SegmentWriter::create(folder, header)
}

/// Saves a snapshot under the name of its revision.
async fn save(client: &Client, folder: &Folder) -> Result<Revision, Failure> {
    let partial = folder.partial_path();
    snapshot::receive(client, &partial).await?;
    let named = || -> anyhow::Result<Revision> {
        let file = SnapshotFile::open(File::open(&partial)?)?;
        let revision = span(&file.database()?)?.last;
        fs::rename(&partial, folder.snapshot_path(revision))?;
        folder.sync()?;
        Ok(revision)
    };
    Ok(named().with_context(|| format!("cannot keep {}", partial.display()))?)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 is wrong, and no revision should be found by it.
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn record(kv: tenure::KeyValue) -> KeyValue {
    let (create, modified) = (kv.create_revision().get(), kv.mod_revision().get());
    let (version, lease) = (kv.version(), kv.lease().unwrap_or_default().get());
    let (key, value): (Chunk, Chunk) = kv.into_parts();
    KeyValue {
        key,
        create_revision: create,
        mod_revision: modified,
        version,
        value,
        lease,
    }
}

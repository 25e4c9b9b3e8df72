//! A snapshot from one member to another: its head, then the checkpoint's files in chunks, each
//! with a checksum, then how many files there were.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use futures::future::{Either, select};
use openraft::type_config::alias::SnapshotOf;
use tenure_proto::peer::{SnapshotChunk, SnapshotHeader, snapshot_chunk::Part};
use tenure_statemachine::Fault;
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    convert::{self, WireError},
    peers::Client,
    sound::{Measure, Unsound},
    types::{TypeConfig, Vote},
};
use crate::{
    storage::{AdapterRecord, Checkpoint, SnapshotDir},
    tasks,
};

/// Bytes of a file in one message.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks read ahead of the network.
const CHUNKS_AHEAD: usize = 4;
/// How long the receiver may take to accept a chunk, or the sender to bring one, before the
/// transfer counts as dead.
const STALL_MAX: Duration = Duration::from_secs(30);
/// How long the receiver may take to check and install a complete snapshot.
const INSTALL_MAX: Duration = Duration::from_secs(120);

/// Why a snapshot did not arrive.
#[derive(Debug, Error)]
pub(super) enum TransferError {
    /// A file could not be read or written.
    #[error("snapshot file could not be read or written")]
    Io(#[from] io::Error),
    /// The other side gave up.
    #[error("snapshot transfer was refused")]
    Refused(#[from] Status),
    /// The other side says nothing.
    #[error("snapshot transfer stalled")]
    Stalled,
    /// What arrived is not what was sent.
    #[error("snapshot is damaged in transfer: {0}")]
    Damaged(&'static str),
    /// What arrived cannot be read, or is not what its head says.
    #[error("snapshot does not hold what its head says")]
    Content(#[from] Fault),
    /// A message makes no sense.
    #[error("snapshot message is malformed")]
    Malformed(#[from] WireError),
    /// Its head is none that a leader sends.
    #[error("snapshot refused")]
    Unsound(#[from] Unsound),
}

/// Sends `snapshot` and returns the receiver's vote.
pub(super) async fn send(
    client: &mut Client,
    vote: Vote,
    snapshot: SnapshotOf<TypeConfig, Checkpoint>,
) -> Result<Vote, TransferError> {
    let record = AdapterRecord {
        last_applied: snapshot.meta.last_log_id,
        membership: snapshot.meta.last_membership,
    };
    let files = snapshot.snapshot.files()?;
    let mut header = record.header();
    header.vote = Some(convert::vote_to(&vote));
    header.total_bytes = files.iter().map(|(_, bytes)| bytes).sum();
    let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let (progress, seen) = watch::channel(());
    let checkpoint = snapshot.snapshot;
    let reading = tasks::spawn_blocking(move || {
        let out = Outgoing { chunks, progress };
        read_files(&checkpoint, header, &files, &out)
    });
    let call = pin!(client.install_snapshot(ReceiverStream::new(receiver)));
    let response = match select(call, pin!(stalled(seen))).await {
        Either::Left((response, _)) => response?,
        Either::Right(((), _)) => return Err(TransferError::Stalled),
    };
    reading.await.map_err(io::Error::other)??;
    Ok(convert::vote_from(response.into_inner().vote)?)
}

/// Ends when the network took no chunk for too long, or the receiver does not install what it has.
/// How long the whole takes is the size's and the link's business.
async fn stalled(mut progress: watch::Receiver<()>) {
    loop {
        match timeout(STALL_MAX, progress.changed()).await {
            Ok(Ok(())) => {}
            // Everything is sent.
            Ok(Err(_)) => return sleep(INSTALL_MAX).await,
            Err(_) => return,
        }
    }
}

/// Where chunks go, and who is told that one went.
struct Outgoing {
    chunks: mpsc::Sender<SnapshotChunk>,
    progress: watch::Sender<()>,
}

impl Outgoing {
    /// Waits for room. False when the receiver is gone: it has refused, and its status says why.
    fn push(&self, part: Part, crc32c: u32) -> bool {
        let part = Some(part);
        let sent = self.chunks.blocking_send(SnapshotChunk { part, crc32c });
        self.progress.send_replace(());
        sent.is_ok()
    }
}

fn read_files(
    checkpoint: &Checkpoint,
    header: SnapshotHeader,
    files: &[(String, u64)],
    out: &Outgoing,
) -> Result<(), TransferError> {
    if !out.push(Part::Header(header), 0) {
        return Ok(());
    }
    let mut buffer = vec![0; CHUNK_BYTES];
    for (name, _) in files {
        let mut file = File::open(checkpoint.path().join(name))?;
        if !out.push(Part::FileName(name.clone()), 0) {
            return Ok(());
        }
        loop {
            let len = file.read(&mut buffer)?;
            let Some(data) = buffer.get(..len).filter(|data| !data.is_empty()) else {
                break;
            };
            let crc = crc32c::crc32c(data);
            if !out.push(Part::Data(Bytes::copy_from_slice(data)), crc) {
                return Ok(());
            }
        }
    }
    out.push(Part::EndFileCount(files.len() as u64), 0);
    Ok(())
}

/// What arrived: from whom, what it covers, and the files.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) vote: Vote,
    pub(super) record: AdapterRecord,
    pub(super) checkpoint: Checkpoint,
}

/// Receives a snapshot into a directory of its own and checks that it is what its head says; on any
/// error the directory is removed. The files are written on a blocking thread.
pub(super) async fn receive(
    directory: &SnapshotDir,
    mut chunks: Streaming<SnapshotChunk>,
    measure: &Measure,
) -> Result<Received, TransferError> {
    let header = match next(&mut chunks).await?.part {
        Some(Part::Header(header)) => header,
        _ => return Err(TransferError::Damaged("it does not begin with its head")),
    };
    measure.vote(header.vote.as_ref())?;
    measure.log_id(header.last_log_id.as_ref())?;
    measure.log_id(header.membership_log_id.as_ref())?;
    let vote = convert::vote_from(header.vote)?;
    let record = AdapterRecord::from_header(header)?;
    let checkpoint = directory.incoming()?;
    let (parts, incoming) = mpsc::channel(CHUNKS_AHEAD);
    let (target, expected) = (checkpoint.clone(), record.clone());
    let writing = tasks::spawn_blocking(move || {
        write_files(target.path(), incoming)?;
        Ok::<_, TransferError>(target.verify(&expected)?)
    });
    loop {
        let chunk = next(&mut chunks).await?;
        let ends = matches!(chunk.part, Some(Part::EndFileCount(_)));
        // A writer that is gone has failed, and says why below.
        if parts.send(chunk).await.is_err() || ends {
            break;
        }
    }
    drop(parts);
    writing.await.map_err(io::Error::other)??;
    Ok(Received {
        vote,
        record,
        checkpoint,
    })
}

/// Writes the files of a checkpoint into `directory`, each made durable.
fn write_files(
    directory: &Path,
    mut chunks: mpsc::Receiver<SnapshotChunk>,
) -> Result<(), TransferError> {
    let mut files = 0_u64;
    let mut open: Option<File> = None;
    while let Some(chunk) = chunks.blocking_recv() {
        match chunk.part {
            Some(Part::FileName(name)) => {
                finish(open.take())?;
                open = Some(create(directory, &name)?);
                files += 1;
            }
            Some(Part::Data(data)) => {
                let file = open
                    .as_mut()
                    .ok_or(TransferError::Damaged("data without a file"))?;
                if crc32c::crc32c(&data) != chunk.crc32c {
                    return Err(TransferError::Damaged("a checksum differs"));
                }
                file.write_all(&data)?;
            }
            Some(Part::EndFileCount(count)) if count == files => {
                return Ok(finish(open.take())?);
            }
            Some(Part::EndFileCount(_)) => {
                return Err(TransferError::Damaged("files are missing"));
            }
            Some(Part::Header(_)) | None => return Err(TransferError::Damaged("a second head")),
        }
    }
    Err(TransferError::Damaged("it ends early"))
}

async fn next(chunks: &mut Streaming<SnapshotChunk>) -> Result<SnapshotChunk, TransferError> {
    timeout(STALL_MAX, chunks.message())
        .await
        .map_err(|_| TransferError::Stalled)??
        .ok_or(TransferError::Damaged("it ends early"))
}

/// A file of the checkpoint. The name comes from outside: it must be a plain name.
fn create(directory: &Path, name: &str) -> Result<File, TransferError> {
    let plain = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && !name.starts_with('.');
    if !plain {
        return Err(TransferError::Damaged("a file has an unexpected name"));
    }
    Ok(File::create_new(directory.join(name))?)
}

fn finish(file: Option<File>) -> io::Result<()> {
    file.map_or(Ok(()), |file| file.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slow link takes hours for a large snapshot, and every chunk is progress.
    #[tokio::test(start_paused = true)]
    async fn a_transfer_lasts_as_long_as_it_makes_progress() {
        let (progress, seen) = watch::channel(());
        let watchdog = tasks::spawn("watchdog", stalled(seen));
        for _ in 0..100 {
            sleep(STALL_MAX / 2).await;
            progress.send_replace(());
            assert!(!watchdog.is_finished());
        }
        sleep(STALL_MAX * 2).await;
        assert!(watchdog.is_finished());
    }

    #[test]
    fn files_that_do_not_make_a_checkpoint_are_refused_before_the_exchange() {
        let parent = tempfile::tempdir().unwrap();
        let (snapshots, _) = SnapshotDir::open(parent.path()).unwrap();
        let incoming = snapshots.incoming().unwrap();
        let (chunks, receiver) = mpsc::channel(8);
        let push = |part, crc32c| {
            let part = Some(part);
            chunks.try_send(SnapshotChunk { part, crc32c }).unwrap();
        };
        let data = Bytes::from_static(b"no manifest");
        let crc = crc32c::crc32c(&data);
        push(Part::FileName("CURRENT".to_owned()), 0);
        push(Part::Data(data), crc);
        push(Part::EndFileCount(1), 0);
        write_files(incoming.path(), receiver).unwrap();
        assert!(incoming.verify(&AdapterRecord::default()).is_err());
    }
}

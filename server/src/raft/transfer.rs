//! A snapshot from one member to another: its head, then the checkpoint's files in chunks, each
//! with a checksum, then how many files there were.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use openraft::type_config::alias::SnapshotOf;
use tenure_proto::peer::{SnapshotChunk, SnapshotHeader, snapshot_chunk::Part};
use thiserror::Error;
use tokio::{sync::mpsc, time::timeout};
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
/// How long the receiver may take to install a complete snapshot.
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
    let checkpoint = snapshot.snapshot;
    let reading = tasks::spawn_blocking(move || read_files(&checkpoint, header, &files, &chunks));
    let deadline = STALL_MAX + INSTALL_MAX;
    let call = client.install_snapshot(ReceiverStream::new(receiver));
    let response = timeout(deadline, call)
        .await
        .map_err(|_| TransferError::Stalled)??;
    reading.await.map_err(io::Error::other)??;
    Ok(convert::vote_from(response.into_inner().vote)?)
}

fn read_files(
    checkpoint: &Checkpoint,
    header: SnapshotHeader,
    files: &[(String, u64)],
    chunks: &mpsc::Sender<SnapshotChunk>,
) -> Result<(), TransferError> {
    // A receiver that is gone has refused; its status says why.
    let push = |part: Part, crc32c: u32| {
        chunks
            .blocking_send(SnapshotChunk {
                part: Some(part),
                crc32c,
            })
            .is_ok()
    };
    if !push(Part::Header(header), 0) {
        return Ok(());
    }
    let mut buffer = vec![0; CHUNK_BYTES];
    for (name, _) in files {
        let mut file = File::open(checkpoint.path().join(name))?;
        if !push(Part::FileName(name.clone()), 0) {
            return Ok(());
        }
        loop {
            let len = file.read(&mut buffer)?;
            let Some(data) = buffer.get(..len).filter(|data| !data.is_empty()) else {
                break;
            };
            let crc = crc32c::crc32c(data);
            if !push(Part::Data(Bytes::copy_from_slice(data)), crc) {
                return Ok(());
            }
        }
    }
    push(Part::EndFileCount(files.len() as u64), 0);
    Ok(())
}

/// What arrived: from whom, what it covers, and the files.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) vote: Vote,
    pub(super) record: AdapterRecord,
    pub(super) checkpoint: Checkpoint,
}

/// Receives a snapshot into a directory of its own; on any error the directory is removed.
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
    let mut files = 0_u64;
    let mut open: Option<File> = None;
    loop {
        let chunk = next(&mut chunks).await?;
        match chunk.part {
            Some(Part::FileName(name)) => {
                finish(open.take())?;
                open = Some(create(checkpoint.path(), &name)?);
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
                finish(open.take())?;
                return Ok(Received {
                    vote,
                    record,
                    checkpoint,
                });
            }
            Some(Part::EndFileCount(_)) => {
                return Err(TransferError::Damaged("files are missing"));
            }
            Some(Part::Header(_)) | None => return Err(TransferError::Damaged("a second head")),
        }
    }
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

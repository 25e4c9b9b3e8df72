//! The receiving side of a snapshot transfer.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use tenure_proto::peer::{self, SnapshotChunk, SnapshotHeader, snapshot_chunk::Part};
use tokio::{sync::mpsc, time::timeout};
use tonic::Streaming;

use super::{CHUNKS_AHEAD, STALL_MAX, TransferError};
use crate::{
    raft::sound::Unsound,
    storage::{AdapterRecord, Checkpoint, HeldFile, SnapshotDir, Superseded, Turn, open_at},
    tasks,
};

/// A received snapshot: the sender's vote, its record, and the files.
#[derive(Debug)]
pub(in crate::raft) struct Received {
    /// The sender's vote, when it leads.
    pub(in crate::raft) vote: Option<peer::Vote>,
    pub(in crate::raft) record: AdapterRecord,
    pub(in crate::raft) checkpoint: Checkpoint,
}

/// Returns the name of the next transfer from the data directory `sender`, and the files that it
/// may resume from. Supersedes the transfer in progress.
pub(in crate::raft) async fn held_files(
    snapshots: &SnapshotDir,
    sender: u64,
) -> Result<(u64, Vec<HeldFile>), TransferError> {
    let (mut turn, _) = snapshots.incoming().take().await;
    let reading = tasks::spawn_blocking(move || {
        let held = turn.held(sender)?;
        Ok((turn.name(), held))
    });
    reading.await.map_err(io::Error::other)?
}

/// Receives a snapshot from the data directory `sender`, whose header must pass `check`, and
/// verifies it against its header. Received files are kept when the transfer breaks off.
///
/// # Cancel safety
/// Received files are kept.
pub(in crate::raft) async fn receive(
    snapshots: &Arc<SnapshotDir>,
    sender: u64,
    mut chunks: Streaming<SnapshotChunk>,
    check: impl Fn(&SnapshotHeader) -> Result<(), Unsound>,
) -> Result<Received, TransferError> {
    let header = head(&mut chunks).await?;
    check(&header)?;
    let (mut turn, superseded) = snapshots.incoming().take().await;
    if header.transfer == 0 {
        turn = tasks::spawn_blocking(move || turn.clear().map(|()| turn))
            .await
            .map_err(io::Error::other)??;
    } else if header.transfer != turn.transfer() {
        return Err(TransferError::Superseded);
    }
    write(snapshots, sender, chunks, header, (turn, superseded)).await
}

/// As [`receive`], for a caller that requested the snapshot and has held its turn since.
///
/// # Cancel safety
/// Received files are kept.
pub(in crate::raft) async fn receive_in_turn(
    snapshots: &Arc<SnapshotDir>,
    sender: u64,
    mut chunks: Streaming<SnapshotChunk>,
    turn: (Turn, Superseded),
) -> Result<Received, TransferError> {
    let header = head(&mut chunks).await?;
    write(snapshots, sender, chunks, header, turn).await
}

async fn head(chunks: &mut Streaming<SnapshotChunk>) -> Result<SnapshotHeader, TransferError> {
    match next(chunks).await?.part {
        Some(Part::Header(header)) => Ok(header),
        _ => Err(TransferError::Damaged("it does not begin with its head")),
    }
}

/// Receives the chunks after the header. A blocking thread writes the files and holds the turn
/// until it has finished.
async fn write(
    snapshots: &Arc<SnapshotDir>,
    sender: u64,
    mut chunks: Streaming<SnapshotChunk>,
    mut header: SnapshotHeader,
    (mut turn, mut superseded): (Turn, Superseded),
) -> Result<Received, TransferError> {
    let vote = header.vote.take();
    let names = std::mem::take(&mut header.file_names);
    let record = AdapterRecord::from_header(header)?;
    let (parts, incoming) = mpsc::channel(CHUNKS_AHEAD);
    let (checking, expected) = (Arc::clone(snapshots), record.clone());
    let writing = tasks::spawn_blocking(move || {
        let written = turn
            .directory(sender, &names)
            .map_err(TransferError::Io)
            .and_then(|directory| write_files(&directory, incoming, &mut || turn.changes()));
        if let Err(TransferError::Io(_)) = &written {
            // The disk may be full.
            turn.clear()?;
        }
        written?;
        checking.check(&mut turn, sender, &expected)?;
        Ok(turn)
    });
    let ended = loop {
        // Cancel-safe: a chunk that was not delivered stays in the stream.
        let chunk = tokio::select! {
            chunk = next(&mut chunks) => chunk,
            () = superseded.happens() => Err(TransferError::Superseded),
        };
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => break Err(error),
        };
        let ends = matches!(chunk.part, Some(Part::EndFileCount(_)));
        // A writer that is gone has failed, and its error is returned below.
        if parts.send(chunk).await.is_err() || ends {
            break Ok(());
        }
    };
    drop(parts);
    let written: Result<Turn, TransferError> = writing.await.map_err(io::Error::other)?;
    ended?;
    // Not part of the writing task: a cancelled call would drop the checkpoint with its files.
    let (mut turn, snapshots) = (written?, Arc::clone(snapshots));
    let taking = tasks::spawn_blocking(move || snapshots.complete(&mut turn, sender));
    Ok(Received {
        vote,
        record,
        checkpoint: taking.await.map_err(io::Error::other)??,
    })
}

/// Writes the files of a checkpoint durably into `directory`. Calls `changes` before any change.
pub(super) fn write_files(
    directory: &Path,
    mut chunks: mpsc::Receiver<SnapshotChunk>,
    changes: &mut dyn FnMut(),
) -> Result<(), TransferError> {
    let mut files = 0_u64;
    let mut open: Option<File> = None;
    while let Some(chunk) = chunks.blocking_recv() {
        match chunk.part {
            Some(Part::FileName(name)) => {
                finish(open.take())?;
                let held = fs::metadata(directory.join(&name)).map(|file| file.len());
                if held.ok() != Some(chunk.offset) {
                    changes();
                }
                open = Some(open_file(directory, &name, chunk.offset)?);
                files += 1;
            }
            Some(Part::Data(data)) => {
                let file = open
                    .as_mut()
                    .ok_or(TransferError::Damaged("data without a file"))?;
                if crc32c::crc32c(&data) != chunk.crc32c {
                    return Err(TransferError::Damaged("a checksum differs"));
                }
                changes();
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

/// Opens a file of the checkpoint. The name comes from outside and must be a plain file name.
fn open_file(directory: &Path, name: &str, offset: u64) -> Result<File, TransferError> {
    let plain = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && !name.starts_with('.');
    if !plain {
        return Err(TransferError::Damaged("a file has an unexpected name"));
    }
    Ok(open_at(directory, name, offset)?)
}

fn finish(file: Option<File>) -> io::Result<()> {
    file.map_or(Ok(()), |file| file.sync_all())
}

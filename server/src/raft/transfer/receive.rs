//! The side that gets the snapshot.

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

/// What arrived: from whom, what it covers, and the files.
#[derive(Debug)]
pub(in crate::raft) struct Received {
    /// The sender's, when it leads.
    pub(in crate::raft) vote: Option<peer::Vote>,
    pub(in crate::raft) record: AdapterRecord,
    pub(in crate::raft) checkpoint: Checkpoint,
}

/// What a transfer from the data directory `sender` may go on from, and the name of that transfer.
/// Ends the one under way.
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

/// Receives a snapshot from the data directory `sender`, whose head must pass `check`, and checks
/// that it is what its head says. What came of it stays when it breaks off.
///
/// # Cancel safety
/// What came stays.
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

/// The same, for a caller that asked for the snapshot and has kept its turn since.
///
/// # Cancel safety
/// What came stays.
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

/// Takes the chunks after the head. The files are written on a blocking thread, which keeps the
/// turn until it has ended.
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
        // A writer that is gone has failed, and says why below.
        if parts.send(chunk).await.is_err() || ends {
            break Ok(());
        }
    };
    drop(parts);
    let written: Result<Turn, TransferError> = writing.await.map_err(io::Error::other)?;
    ended?;
    // Only now, as a call that is gone would take the files with it.
    let (mut turn, snapshots) = (written?, Arc::clone(snapshots));
    let taking = tasks::spawn_blocking(move || snapshots.complete(&mut turn, sender));
    Ok(Received {
        vote,
        record,
        checkpoint: taking.await.map_err(io::Error::other)??,
    })
}

/// Writes the files of a checkpoint into `directory`, each made durable. `changes` is called before
/// anything does.
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

/// A file of the checkpoint. The name comes from outside: it must be a plain name.
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

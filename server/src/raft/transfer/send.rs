//! The sending side of a snapshot transfer.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use futures::future::{Either, select};
use openraft::type_config::alias::SnapshotOf;
use tenure_proto::peer::{
    HeldFile, HeldSnapshotRequest, HeldSnapshotResponse, SnapshotChunk, SnapshotHeader,
    snapshot_chunk::Part,
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tracing::info;

use super::{CHUNK_BYTES, CHUNKS_AHEAD, INSTALL_MAX, STALL_MAX, TransferError, chunk};
use crate::{
    consensus::{TypeConfig, Vote, convert},
    raft::{PeerClient as Client, is_unknown_call},
    storage::{AdapterRecord, Checkpoint, checksum},
    tasks,
};

/// How long the reading of files may continue after the receiver refused them: for a chunk.
const READ_END_MAX: Duration = Duration::from_secs(1);

/// Sends the parts of `snapshot` that the receiver does not hold, and returns the receiver's vote.
/// Calls `progressed` for each chunk sent.
pub(in crate::raft) async fn send(
    client: &mut Client,
    vote: Vote,
    snapshot: SnapshotOf<TypeConfig, Checkpoint>,
    progressed: impl Fn() + Send + 'static,
) -> Result<Vote, TransferError> {
    let record = AdapterRecord {
        last_applied: snapshot.meta.last_log_id,
        membership: snapshot.meta.last_membership,
        ..AdapterRecord::default()
    };
    let held = held_by(client, vote).await?;
    if let Some(theirs) = held.vote {
        let theirs = convert::vote_from(Some(theirs))?;
        if theirs > vote {
            return Ok(theirs);
        }
    }
    let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let (progress, seen) = watch::channel(());
    let checkpoint = snapshot.snapshot;
    let mut header = record.header();
    header.vote = Some(convert::vote_to(&vote));
    header.transfer = held.transfer;
    let reading = tasks::spawn_blocking(move || {
        let push = |chunk| {
            let sent = chunks.blocking_send(chunk);
            progress.send_replace(());
            progressed();
            sent.is_ok()
        };
        read_files(&checkpoint, header, &held.files, &push)
    });
    let call = pin!(client.install_snapshot(ReceiverStream::new(receiver)));
    let response = match select(call, pin!(stalled(seen))).await {
        Either::Left((response, _)) => response,
        Either::Right(((), _)) => return Err(TransferError::Stalled),
    };
    let read = match response {
        Ok(_) => reading.await.map_err(io::Error::other)?,
        // A read error here ends the stream early, which the receiver refuses: the read error is
        // the cause. Reading ends with the call.
        Err(_) => match timeout(READ_END_MAX, reading).await {
            Ok(read) => read.map_err(io::Error::other)?,
            Err(_) => Ok(()),
        },
    };
    read?;
    Ok(convert::vote_from(response?.into_inner().vote)?)
}

/// Returns the files that the receiver holds; none when its version keeps none.
async fn held_by(client: &mut Client, vote: Vote) -> Result<HeldSnapshotResponse, TransferError> {
    let vote = Some(convert::vote_to(&vote));
    let asked = client.held_snapshot(HeldSnapshotRequest { vote });
    match timeout(INSTALL_MAX, asked).await {
        Ok(Ok(held)) => Ok(held.into_inner()),
        Ok(Err(status)) if is_unknown_call(&status) => Ok(HeldSnapshotResponse::default()),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(TransferError::Stalled),
    }
}

/// Streams the chunks of a snapshot to a member that requested it, without those that it holds. The
/// stream ends when the other side accepts none for too long, or with the reason for a failure.
pub(in crate::raft) fn offer(
    record: &AdapterRecord,
    checkpoint: Checkpoint,
    held: Vec<HeldFile>,
) -> mpsc::Receiver<Result<SnapshotChunk, String>> {
    let header = record.header();
    let (read, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
    let (offered, receiver) = mpsc::channel(1);
    let reading = tasks::spawn_blocking(move || {
        let push = |chunk| read.blocking_send(chunk).is_ok();
        read_files(&checkpoint, header, &held, &push)
    });
    tasks::spawn("snapshot-offer", async move {
        while let Some(chunk) = chunks.recv().await {
            // The reader ends when this task drops its receiver.
            if !matches!(
                timeout(STALL_MAX, offered.send(Ok(chunk))).await,
                Ok(Ok(()))
            ) {
                return;
            }
        }
        let failed = match reading.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // Fails only when the receiver is gone.
        _ = offered.send(Err(failed)).await;
    });
    receiver
}

/// Resolves when the network accepted no chunk for too long, or the receiver does not install the
/// complete snapshot. The total time depends on the size and the link, and is not bounded.
pub(super) async fn stalled(mut progress: watch::Receiver<()>) {
    loop {
        match timeout(STALL_MAX, progress.changed()).await {
            Ok(Ok(())) => {}
            // Everything is sent.
            Ok(Err(_)) => return sleep(INSTALL_MAX).await,
            Err(_) => return,
        }
    }
}

/// Pushes the whole checkpoint except the `held` parts. `push` waits for room, and returns false
/// when the receiver is gone: it has refused, with the reason in its status.
pub(super) fn read_files(
    checkpoint: &Checkpoint,
    mut header: SnapshotHeader,
    held: &[HeldFile],
    push: &dyn Fn(SnapshotChunk) -> bool,
) -> Result<(), TransferError> {
    let files = checkpoint.files()?;
    let held: BTreeMap<_, _> = held.iter().map(|file| (file.name.as_str(), file)).collect();
    header.total_bytes = files.iter().map(|(_, bytes)| bytes).sum();
    header.file_names = files.iter().map(|(name, _)| name.clone()).collect();
    let total = header.total_bytes;
    if !push(chunk(Part::Header(header), 0, 0)) {
        return Ok(());
    }
    let mut kept = 0;
    for (name, bytes) in &files {
        let held = held.get(name.as_str());
        let offset = held.map_or(Ok(0), |held| agreed(checkpoint, *bytes, held))?;
        kept += offset;
        if !read_file(checkpoint, name, offset, push)? {
            info!(total, kept, "a snapshot was not taken to its end");
            return Ok(());
        }
    }
    push(chunk(Part::EndFileCount(files.len() as u64), 0, 0));
    info!(total, kept, "sent a snapshot, without what was kept of it");
    Ok(())
}

/// Returns how many bytes of a file need not be sent again: the held ones, if they are the same.
fn agreed(checkpoint: &Checkpoint, bytes: u64, held: &HeldFile) -> io::Result<u64> {
    if held.bytes > bytes {
        return Ok(0);
    }
    let (read, crc32c) = checksum(&checkpoint.path().join(&held.name), held.bytes)?;
    let same = read == held.bytes && crc32c == held.crc32c;
    Ok(if same { held.bytes } else { 0 })
}

/// Pushes a file from `offset` on; false when the receiver is gone.
fn read_file(
    checkpoint: &Checkpoint,
    name: &str,
    offset: u64,
    push: &dyn Fn(SnapshotChunk) -> bool,
) -> io::Result<bool> {
    let mut file = File::open(checkpoint.path().join(name))?;
    file.seek(SeekFrom::Start(offset))?;
    if !push(chunk(Part::FileName(name.to_owned()), 0, offset)) {
        return Ok(false);
    }
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let len = file.read(&mut buffer)?;
        let Some(data) = buffer.get(..len).filter(|data| !data.is_empty()) else {
            return Ok(true);
        };
        let crc = crc32c::crc32c(data);
        if !push(chunk(Part::Data(Bytes::copy_from_slice(data)), crc, 0)) {
            return Ok(false);
        }
    }
}

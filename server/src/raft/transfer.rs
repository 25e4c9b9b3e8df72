//! Transfer of a snapshot between members: a header, then the checkpoint's files in chunks, each
//! with a checksum, then the number of files.
//!
//! A transfer that breaks off can resume: the receiver keeps the files, and the next attempt, even
//! with a newer snapshot, sends only what is missing or differs.

mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use tenure_proto::peer::{self, SnapshotChunk, snapshot_chunk::Part};
use tenure_statemachine::Fault;
use thiserror::Error;
use tonic::Status;

pub(super) use self::{
    receive::{held_files, receive, receive_in_turn},
    send::{offer, send},
};
use super::{peers::is_content_refused, sound::Unsound};
use crate::{
    consensus::convert::WireError,
    storage::{HeldFile, is_damage},
};

/// Bytes of a file in one message. Part of a chunk is lost when a transfer breaks off.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks read ahead of the network: a megabyte.
const CHUNKS_AHEAD: usize = 16;
/// Time limit for the receiver to accept a chunk, or for the sender to supply one; after it the
/// transfer counts as dead.
pub(super) const STALL_MAX: Duration = Duration::from_secs(30);
/// Time limit for the receiver to verify and install a complete snapshot, or to read held files.
const INSTALL_MAX: Duration = Duration::from_secs(120);

/// Why a snapshot did not arrive.
#[derive(Debug, Error)]
pub(super) enum TransferError {
    /// A file could not be read or written.
    #[error("snapshot file could not be read or written")]
    Io(#[from] io::Error),
    /// The other side refused or aborted the transfer.
    #[error("snapshot transfer was refused")]
    Refused(#[from] Status),
    /// The other side made no progress in time.
    #[error("snapshot transfer stalled")]
    Stalled,
    /// A later transfer superseded this one.
    #[error("snapshot transfer was superseded by a later one")]
    Superseded,
    /// The received bytes differ from those sent.
    #[error("snapshot is damaged in transfer: {0}")]
    Damaged(&'static str),
    /// The received files cannot be read, or do not match their header.
    #[error("snapshot does not hold what its head says")]
    Content(#[from] Fault),
    /// A message does not decode.
    #[error("snapshot message is malformed")]
    Malformed(#[from] WireError),
    /// The header is not one that a leader sends.
    #[error("snapshot refused")]
    Unsound(#[from] Unsound),
}

impl TransferError {
    /// On the receiving side: whether the files arrived as sent but do not match their header.
    pub(super) fn is_content(&self) -> bool {
        matches!(self, Self::Content(fault) if is_damage(fault))
    }

    /// On the sending side: whether its own files may be damaged, because the receiver refused
    /// their content or they could not be read.
    pub(super) fn doubts_content(&self) -> bool {
        match self {
            Self::Refused(status) => is_content_refused(status),
            Self::Io(_) => true,
            _ => false,
        }
    }
}

const fn chunk(part: Part, crc32c: u32, offset: u64) -> SnapshotChunk {
    let part = Some(part);
    SnapshotChunk {
        part,
        crc32c,
        offset,
    }
}

/// Converts held files to messages.
pub(super) fn held_to(held: Vec<HeldFile>) -> Vec<peer::HeldFile> {
    let file = |file: HeldFile| peer::HeldFile {
        name: file.name,
        bytes: file.bytes,
        crc32c: file.crc32c,
    };
    held.into_iter().map(file).collect()
}

//! A snapshot from one member to another: its head, then the checkpoint's files in chunks, each
//! with a checksum, then how many files there were.
//!
//! A transfer that breaks off is not lost: the receiver keeps what came, and the next attempt, also
//! with a newer snapshot, sends what is not there or differs.

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

/// Bytes of a file in one message. A part of one is lost where a transfer breaks off.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks read ahead of the network: a megabyte.
const CHUNKS_AHEAD: usize = 16;
/// How long the receiver may take to accept a chunk, or the sender to bring one, before the
/// transfer counts as dead.
pub(super) const STALL_MAX: Duration = Duration::from_secs(30);
/// How long the receiver may take to check and install a complete snapshot, or to read through
/// what it holds of one.
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
    /// Another transfer takes its place.
    #[error("snapshot transfer was superseded by a later one")]
    Superseded,
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

impl TransferError {
    /// To the receiver: whether the files arrived as they were sent, and do not hold what their
    /// head says.
    pub(super) fn is_content(&self) -> bool {
        matches!(self, Self::Content(fault) if is_damage(fault))
    }

    /// To the sender: whether its own files may be damaged. The receiver refused what they hold, or
    /// they could not be read.
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

/// On the wire.
pub(super) fn held_to(held: Vec<HeldFile>) -> Vec<peer::HeldFile> {
    let file = |file: HeldFile| peer::HeldFile {
        name: file.name,
        bytes: file.bytes,
        crc32c: file.crc32c,
    };
    held.into_iter().map(file).collect()
}

//! Recovery of a log from its segments: everything that was synced is found, or the log is refused.
//!
//! Checks how segments connect; the end of one segment is the subject of `scan`. Invariant: only
//! the possible results of a crash are accepted; a torn end is durably erased before a write
//! follows it.

use std::{io, sync::Arc};

use super::{
    error::LogError,
    facts::Facts,
    files::{LogFile, LogFiles},
    head::{DATA_START, LogOwner, SegmentHead},
    index::LogIndex,
    names::{self, Name},
    provision::Ready,
    replay::Replay,
    sector::{Position, SECTOR},
};

/// A segment with entries.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) sequence: u64,
    pub(super) file: Arc<dyn LogFile>,
    /// Number of bytes written.
    pub(super) end: u64,
    /// Upper bound of its entries, including removed ones; exclusive.
    pub(super) before: u64,
}

/// The result of a recovery.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) index: LogIndex,
    pub(super) facts: Facts,
    pub(super) held: Vec<Held>,
    /// The last of them, its end, and whether it is sealed.
    pub(super) last: Ready,
    pub(super) end: Position,
    pub(super) sealed: bool,
    /// The segment after the last, if it exists.
    pub(super) ready: Option<Ready>,
    pub(super) spares: Vec<u64>,
}

/// Reads every segment in `files`.
///
/// # Errors
/// A [`LogError`] when a segment is missing or differs from what was written; otherwise an error of
/// the disk.
pub(super) fn recover(files: &dyn LogFiles, owner: LogOwner) -> io::Result<Recovered> {
    let (sequences, spares) = list(files)?;
    let first = sequences.first().copied().unwrap_or_default();
    let mut replay = Replay::default();
    let mut ready: Option<Ready> = None;
    let mut extra = Vec::new();
    for (sequence, expected) in sequences.into_iter().zip(first..) {
        if sequence != expected {
            return Err(LogError::Missing {
                file: names::segment(expected),
                what: format!("the segments go on with {}", names::segment(sequence)),
            }
            .into());
        }
        let file = files.open(&names::segment(sequence))?;
        let (head, bytes) = load(&*file, owner, sequence)?;
        if replay.segment(&head, &bytes, &file)? {
            if ready.is_some() {
                return Err(replay.damaged(
                    sequence,
                    DATA_START,
                    "it has entries, and the segment before it has none",
                ));
            }
        } else if ready.is_none() {
            ready = Some(Ready { head, file });
        } else {
            extra.push(sequence);
        }
    }
    let recovered = replay.finish(ready, spares)?;
    for sequence in extra.into_iter().rev() {
        // More than one was prepared; one is enough.
        files.remove(&names::segment(sequence))?;
        files.sync_names()?;
    }
    Ok(recovered)
}

/// Returns the sequence numbers of the segments and the numbers of the spares, sorted.
fn list(files: &dyn LogFiles) -> io::Result<(Vec<u64>, Vec<u64>)> {
    let (mut sequences, mut spares) = (Vec::new(), Vec::new());
    for name in files.names()? {
        match names::parse(&name) {
            Some(Name::Segment(sequence)) => sequences.push(sequence),
            Some(Name::Spare(number)) => spares.push(number),
            None => {
                return Err(LogError::Foreign {
                    file: name,
                    what: "it is no file of a log; move it away".to_owned(),
                }
                .into());
            }
        }
    }
    sequences.sort_unstable();
    spares.sort_unstable();
    Ok((sequences, spares))
}

/// Reads a whole segment and its head.
fn load(file: &dyn LogFile, owner: LogOwner, sequence: u64) -> io::Result<(SegmentHead, Vec<u8>)> {
    let name = names::segment(sequence);
    let damaged = |offset: u64, what: String| LogError::Damaged {
        file: name.clone(),
        offset,
        index: 0,
        what,
    };
    let length = file.length()?;
    if length < DATA_START {
        return Err(damaged(length, format!("it ends after {length} bytes")).into());
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    let head = bytes
        .first_chunk::<SECTOR>()
        .ok_or_else(|| "it is too short".to_owned())
        .and_then(SegmentHead::decode)
        .map_err(|what| damaged(0, what))?;
    let foreign = |what: String| LogError::Foreign {
        file: name.clone(),
        what,
    };
    if head.owner != owner {
        return Err(foreign(format!(
            "it belongs to {}, and this is {}",
            shown(head.owner),
            shown(owner)
        ))
        .into());
    }
    if head.sequence != sequence {
        return Err(foreign(format!("it is a copy of {}", names::segment(head.sequence))).into());
    }
    if head.capacity != length {
        let what = format!("it has {length} bytes, but was made with {}", head.capacity);
        return Err(damaged(length.min(head.capacity), what).into());
    }
    Ok((head, bytes))
}

fn shown(owner: LogOwner) -> String {
    format!(
        "member {:016x} of cluster {:016x}, instance {:016x}",
        owner.member_id, owner.cluster_id, owner.instance_id
    )
}

//! Contradictions in a log, detected when it is written, read or opened, and fatal there.
//!
//! A node whose log contradicts what it acknowledged or applied would, if it continued, spread the
//! contradiction or answer from it. Damaged bytes are detected by the disk layer below.

use std::ops::Range;

use thiserror::Error;

use crate::consensus::LogId;

/// Two facts about a log of which at most one is true.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Contradiction {
    /// An appended entry does not follow the last one.
    #[error("the log ends at {last} and was given {next}, which does not follow it")]
    Gap {
        /// The last entry of the log.
        last: LogId,
        /// The entry to append.
        next: LogId,
    },
    /// A truncation would remove a committed entry.
    #[error("the log was to be cut after {}, and {committed} is committed", shown(*.keep))]
    TruncatesCommitted {
        /// The last entry to keep.
        keep: Option<LogId>,
        /// The last entry known to be committed.
        committed: LogId,
    },
    /// The committed log id lies beyond the end of the log.
    #[error("{committed} is said to be committed, and the log ends at {}", shown(*.last))]
    CommittedBeyondEnd {
        /// The committed log id.
        committed: LogId,
        /// The last entry of the log.
        last: Option<LogId>,
    },
    /// The log holds another entry at the index of a committed one.
    #[error("{committed} was committed, and the log holds {found} in its place")]
    CommittedDiffers {
        /// The committed entry.
        committed: LogId,
        /// The entry in the log.
        found: LogId,
    },
    /// The log holds another entry at the index of one that was applied to the state.
    #[error("{applied} was applied to the state, and the log holds {found} in its place")]
    AppliedDiffers {
        /// The applied entry.
        applied: LogId,
        /// The entry in the log.
        found: LogId,
    },
    /// Entries between the end of the state and the start of the log are missing.
    #[error(
        "the state ends at {}, and the log up to {purged} is gone: the entries between are lost",
        shown(*.applied)
    )]
    StateBeforeLog {
        /// The last entry applied.
        applied: Option<LogId>,
        /// The last entry purged.
        purged: LogId,
    },
    /// The log of a single-node quorum ends before its state.
    #[error(
        "{applied} was applied to the state, and the log, which only this member has, ends at {}: \
         it is an older one",
        shown(*.last)
    )]
    LogBeforeState {
        /// The last entry applied.
        applied: LogId,
        /// The last entry of the log.
        last: Option<LogId>,
    },
    /// An entry to apply does not follow the last applied one.
    #[error("the state ends at {applied} and was given {next}, which does not follow it")]
    ApplyGap {
        /// The last entry applied.
        applied: LogId,
        /// The entry to apply.
        next: LogId,
    },
    /// The first entry does not follow the last purged one.
    #[error("the log is purged up to {}, and its first entry is {first}", shown(*.purged))]
    MissingFront {
        /// The last entry purged.
        purged: Option<LogId>,
        /// The index of the first entry.
        first: u64,
    },
    /// The last entry is older than a purged one.
    #[error("the log is purged up to {purged}, and ends at {last}, which is older")]
    EndBeforePurged {
        /// The last entry purged.
        purged: LogId,
        /// The last entry of the log.
        last: LogId,
    },
    /// A read did not return the entries that the log must hold.
    #[error(
        "entries {} to {} of the log were asked for, and what was read {}",
        .asked.start, .asked.end.saturating_sub(1), shown_indexes(.found)
    )]
    UnreadableRange {
        /// The requested indexes.
        asked: Range<u64>,
        /// The indexes read: not contiguous, from another start, or too few.
        found: Vec<u64>,
    },
}

fn shown(id: Option<LogId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| id.to_string())
}

/// Describes the first gap in the indexes, or else their range.
fn shown_indexes(found: &[u64]) -> String {
    let gap = found.windows(2).find(|pair| pair[0] + 1 != pair[1]);
    match (gap, found) {
        (Some(pair), _) => format!("goes from {} to {}", pair[0], pair[1]),
        (None, [first, .., last]) => format!("is {first} to {last}"),
        (None, [only]) => format!("is {only}"),
        (None, []) => "is nothing".to_owned(),
    }
}

/// Whether `next` may follow `last`: it has the next index, and is not from an older leader.
pub(crate) fn follows(last: &LogId, next: &LogId) -> bool {
    last.index.checked_add(1) == Some(next.index) && last < next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::LeaderId;

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id: 1 }, index)
    }

    #[test]
    fn an_entry_follows_with_the_next_index_and_no_older_leader_only() {
        assert!(follows(&id(2, 7), &id(2, 8)));
        assert!(follows(&id(2, 7), &id(3, 8)));
        assert!(!follows(&id(2, 7), &id(1, 8)), "an older leader");
        assert!(!follows(&id(2, 7), &id(2, 9)), "a gap");
        assert!(!follows(&id(2, 7), &id(2, 7)), "the same again");
        assert!(!follows(&id(2, u64::MAX), &id(3, 0)));
    }

    #[test]
    fn what_was_read_is_named_by_its_first_gap_or_its_ends() {
        assert_eq!(shown_indexes(&[3, 4, 7]), "goes from 4 to 7");
        assert_eq!(shown_indexes(&[3, 4]), "is 3 to 4");
        assert_eq!(shown_indexes(&[3]), "is 3");
        assert_eq!(shown_indexes(&[]), "is nothing");
    }
}

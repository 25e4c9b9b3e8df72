//! Errors that prevent opening or reading a log: the fault, its file and place, and the remedy.

use std::io;

use thiserror::Error;

/// Reasons to refuse the log. A node that continued would have forgotten what it acknowledged.
#[derive(Debug, Error)]
pub enum LogError {
    /// Bytes that were durable differ from those written.
    #[error(
        "the log is damaged: {file}, offset {offset}, at entry {index}: {what}; replace the \
         member: remove it from the cluster and add it again with an empty data directory"
    )]
    Damaged {
        /// Name of the segment.
        file: String,
        /// Offset in the segment.
        offset: u64,
        /// The first entry that cannot be read.
        index: u64,
        /// The fault found.
        what: String,
    },
    /// A segment is missing.
    #[error(
        "the log is incomplete: {file} is missing: {what}; replace the member: remove it from the \
         cluster and add it again with an empty data directory"
    )]
    Missing {
        /// Name of the segment.
        file: String,
        /// The evidence that it existed.
        what: String,
    },
    /// A file does not belong to this log.
    #[error("the log's directory holds {file}, which cannot be used: {what}")]
    Foreign {
        /// Name of the file.
        file: String,
        /// The reason why it cannot be used.
        what: String,
    },
    /// A write does not fit the log.
    #[error("a write does not fit the log: {0}")]
    Invalid(String),
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        let kind = match error {
            LogError::Invalid(_) => io::ErrorKind::InvalidInput,
            LogError::Damaged { .. } | LogError::Missing { .. } | LogError::Foreign { .. } => {
                io::ErrorKind::InvalidData
            }
        };
        Self::new(kind, error)
    }
}

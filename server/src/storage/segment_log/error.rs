//! Why a log cannot be opened or read: what is wrong, in which file, at which place, what to do.

use std::io;

use thiserror::Error;

/// Why the log is refused. A node that went on would have forgotten what it acknowledged.
#[derive(Debug, Error)]
pub enum LogError {
    /// Bytes that were durable are not what was written.
    #[error(
        "the log is damaged: {file}, offset {offset}, at entry {index}: {what}; replace the \
         member: remove it from the cluster and add it again with an empty data directory"
    )]
    Damaged {
        /// The segment.
        file: String,
        /// Where in it.
        offset: u64,
        /// The first entry that cannot be read.
        index: u64,
        /// What was found.
        what: String,
    },
    /// A segment is not there.
    #[error(
        "the log is incomplete: {file} is missing: {what}; replace the member: remove it from the \
         cluster and add it again with an empty data directory"
    )]
    Missing {
        /// The segment.
        file: String,
        /// How that is known.
        what: String,
    },
    /// A file is not this log's.
    #[error("the log's directory holds {file}, which cannot be used: {what}")]
    Foreign {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A write that the log cannot hold.
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

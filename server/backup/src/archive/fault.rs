//! What is wrong with a segment, and where.

use std::io;

use tenure_statemachine::Revision;
use thiserror::Error;

use super::segment::FRAME_BYTES_MAX;

/// A segment that cannot be read.
#[derive(Debug, Error)]
#[error("{file}: at byte {offset}: {fault}")]
pub struct SegmentError {
    /// The file.
    pub file: String,
    /// Where the header or the frame begins.
    pub offset: u64,
    /// What is wrong.
    pub fault: SegmentFault,
}

/// What is wrong with a segment.
#[derive(Debug, Error)]
pub enum SegmentFault {
    /// The file does not begin as a segment does.
    #[error("not a segment of an archive, or its header is damaged")]
    Header,
    /// The file ends within the header or within a frame.
    #[error("the file is cut: {needed} bytes are needed and {present} are there")]
    Cut {
        /// Bytes of the header or frame.
        needed: u64,
        /// Bytes that the file has.
        present: u64,
    },
    /// The head of a frame is damaged.
    #[error("the head of a frame is damaged: its checksum is {computed:08x}, not {stored:08x}")]
    Head {
        /// The checksum in the file.
        stored: u32,
        /// That of the bytes before it.
        computed: u32,
    },
    /// The content of a frame is damaged.
    #[error("a frame is damaged: its checksum is {computed:08x}, not {stored:08x}")]
    Content {
        /// The checksum in the file.
        stored: u32,
        /// That of the content.
        computed: u32,
        /// Whether the file ends with this frame.
        is_last: bool,
    },
    /// A frame is longer than any that is written.
    #[error("a frame of {0} bytes; at most {FRAME_BYTES_MAX} are possible")]
    TooLong(u64),
    /// The content is no revision.
    #[error("a frame cannot be decoded: {0}")]
    Message(#[from] prost::DecodeError),
    /// A revision is missing, or out of order.
    #[error("revision {found} follows {before}")]
    Order {
        /// The revision before.
        before: Revision,
        /// That of the frame.
        found: Revision,
    },
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
}

impl SegmentFault {
    /// Whether an append that a crash interrupted leaves this. It can only be the end of the last
    /// segment, and is cut off there; anywhere else it is damage like any other.
    #[must_use]
    pub const fn is_torn_end(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Content { is_last: true, .. })
    }
}

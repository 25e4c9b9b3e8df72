//! The bytes of a file that is written, in chunks for its sink.
//!
//! Invariant: chunks follow each other without a gap, and only the last is not full.

use bytes::{Bytes, BytesMut};

use super::{
    format::{CHUNK_BYTES_MAX, PAGE_BYTES},
    writer::WriteError,
};

const PAGE: u64 = PAGE_BYTES as u64;

/// Cuts the bytes of a file into chunks.
#[derive(Debug)]
pub(super) struct Output<S> {
    sink: S,
    chunk: BytesMut,
    /// Bytes of the file so far.
    written: u64,
}

impl<S> Output<S> {
    pub(super) fn new(sink: S) -> Self {
        Self {
            sink,
            chunk: BytesMut::new(),
            written: 0,
        }
    }

    /// The page that begins here.
    pub(super) const fn page(&self) -> u64 {
        self.written / PAGE
    }

    pub(super) fn put<E>(&mut self, mut bytes: &[u8]) -> Result<(), WriteError<E>>
    where
        S: FnMut(Bytes) -> Result<(), E>,
    {
        self.written = self.written.saturating_add(bytes.len() as u64);
        loop {
            let room = CHUNK_BYTES_MAX.saturating_sub(self.chunk.len());
            let Some((now, later)) = bytes.split_at_checked(room) else {
                self.chunk.extend_from_slice(bytes);
                return Ok(());
            };
            self.chunk.extend_from_slice(now);
            self.flush()?;
            bytes = later;
        }
    }

    /// Writes zeros up to the end of the page.
    pub(super) fn fill_page<E>(&mut self) -> Result<(), WriteError<E>>
    where
        S: FnMut(Bytes) -> Result<(), E>,
    {
        let used = usize::try_from(self.written % PAGE).unwrap_or_default();
        match used {
            0 => Ok(()),
            used => self.zeros(PAGE_BYTES.saturating_sub(used)),
        }
    }

    pub(super) fn zeros<E>(&mut self, count: usize) -> Result<(), WriteError<E>>
    where
        S: FnMut(Bytes) -> Result<(), E>,
    {
        const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
        self.put(ZEROS.get(..count).unwrap_or(&ZEROS))
    }

    pub(super) fn flush<E>(&mut self) -> Result<(), WriteError<E>>
    where
        S: FnMut(Bytes) -> Result<(), E>,
    {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = self.chunk.split().freeze();
        self.chunk.reserve(CHUNK_BYTES_MAX);
        (self.sink)(chunk).map_err(WriteError::Sink)
    }
}

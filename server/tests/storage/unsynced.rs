//! A disk that says what was written is durable and syncs nothing, to see that the tests of
//! durability fail on it.

use std::io;

use bytes::Bytes;
use tenured::storage::{Fact, LogDisk, LogWrite};

/// A disk whose sync does nothing.
#[derive(Debug)]
pub(crate) struct Unsynced<D>(pub(crate) D);

impl<D: LogDisk> LogDisk for Unsynced<D> {
    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        self.0.write(writes)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn rest(&self) -> io::Result<()> {
        self.0.rest()
    }

    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        self.0.read(start, end, bytes_max)
    }

    fn last_index(&self) -> io::Result<Option<u64>> {
        self.0.last_index()
    }

    fn fact(&self, fact: Fact) -> io::Result<Option<Vec<u8>>> {
        self.0.fact(fact)
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

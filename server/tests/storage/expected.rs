//! What a log must hold: a naive map beside it, and how to read a log whole.

use std::collections::BTreeMap;

use tenured::storage::{ENTRY_HEAD, Fact, LogDisk, LogRecord, LogWrite};

const FACTS: [Fact; 3] = [Fact::Vote, Fact::Committed, Fact::Purged];

/// Entries and facts of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) entries: BTreeMap<u64, Vec<u8>>,
    facts: BTreeMap<u8, Vec<u8>>,
}

impl Expected {
    pub(crate) fn apply(&mut self, write: &LogWrite) {
        match write {
            LogWrite::Put(record) => {
                self.entries
                    .insert(record.index, record.to_bytes().to_vec());
            }
            LogWrite::Remove(from, to) => {
                self.entries.retain(|index, _| index < from || index >= to);
            }
            LogWrite::Fact(fact, value) => {
                self.facts.insert(*fact as u8, value.clone());
            }
        }
    }

    /// Reads everything in a log.
    pub(crate) fn of(disk: &dyn LogDisk) -> std::io::Result<Self> {
        let mut found = Self::default();
        for fact in FACTS {
            if let Some(value) = disk.fact(fact)? {
                found.facts.insert(fact as u8, value);
            }
        }
        for (index, entry) in disk.read(0, u64::MAX, usize::MAX)? {
            found.entries.insert(index, entry.to_vec());
        }
        assert_eq!(
            disk.last_index()?,
            found.entries.keys().next_back().copied()
        );
        Ok(found)
    }
}

/// An entry of `bytes` bytes that are told from any other entry's.
pub(crate) fn put(index: u64, term: u64, bytes: usize) -> LogWrite {
    let mut head = [7; ENTRY_HEAD];
    head[..8].copy_from_slice(&term.to_be_bytes());
    let payload: Vec<u8> = (0..bytes)
        .map(|at| (at as u64 * 31 + index * 7 + term * 3) as u8)
        .collect();
    LogWrite::Put(LogRecord {
        index,
        term,
        head,
        payload: payload.into(),
    })
}

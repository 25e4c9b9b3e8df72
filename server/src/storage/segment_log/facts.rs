//! The current facts of the log, beside its entries.

use super::record::RecordKind;
use crate::storage::log_disk::{Fact, LogWrite};

/// The latest value of each fact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    vote: Option<Vec<u8>>,
    committed: Option<Vec<u8>>,
    purged: Option<Vec<u8>>,
}

impl Facts {
    pub(super) fn get(&self, fact: Fact) -> Option<&Vec<u8>> {
        match fact {
            Fact::Vote => self.vote.as_ref(),
            Fact::Committed => self.committed.as_ref(),
            Fact::Purged => self.purged.as_ref(),
        }
    }

    pub(super) fn set(&mut self, fact: Fact, value: &[u8]) {
        let place = match fact {
            Fact::Vote => &mut self.vote,
            Fact::Committed => &mut self.committed,
            Fact::Purged => &mut self.purged,
        };
        *place = Some(value.to_owned());
    }

    /// Whether a write would change nothing.
    pub(super) fn holds(&self, write: &LogWrite) -> bool {
        matches!(write, LogWrite::Fact(fact, value) if self.get(*fact) == Some(value))
    }

    /// Returns the facts that are set.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Fact, &Vec<u8>)> {
        [Fact::Vote, Fact::Committed, Fact::Purged]
            .into_iter()
            .filter_map(|fact| self.get(fact).map(|value| (fact, value)))
    }
}

/// Returns the fact that a record of this kind stores.
pub(super) const fn of_kind(kind: RecordKind) -> Option<Fact> {
    match kind {
        RecordKind::Vote => Some(Fact::Vote),
        RecordKind::Committed => Some(Fact::Committed),
        RecordKind::Purged => Some(Fact::Purged),
        RecordKind::Entry | RecordKind::Remove | RecordKind::Bounds => None,
    }
}

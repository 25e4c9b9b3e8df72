//! A format-independent description of answers of tenure's own services: named cells, and lists of
//! records.
//!
//! The formats are derived from it. Names are those of the protobuf fields; other spellings
//! (`SinceMs`, `SINCE`) are derived from them.

use tenure::wire::v1::Header;

/// The value of a cell.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    /// Bytes of the key space.
    Bytes(Vec<u8>),
    Text(String),
    /// A revision, a token, an epoch, an incarnation.
    Revision(i64),
    Count(u64),
    /// A lease or a session.
    Lease(i64),
    Flag(bool),
    /// A list of texts.
    Texts(Vec<String>),
    /// Pairs, sorted by name.
    Pairs(Vec<(String, String)>),
    /// Milliseconds; the name ends in `_ms`.
    Millis(u64),
}

/// Named cells in the order of the protobuf fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Record(pub(super) Vec<(&'static str, Cell)>);

impl Record {
    pub(super) fn with(mut self, name: &'static str, cell: Cell) -> Self {
        self.0.push((name, cell));
        self
    }

    pub(super) fn bytes(self, name: &'static str, bytes: &[u8]) -> Self {
        self.with(name, Cell::Bytes(bytes.to_vec()))
    }

    pub(super) fn text(self, name: &'static str, text: impl Into<String>) -> Self {
        self.with(name, Cell::Text(text.into()))
    }

    /// The cell of this name.
    pub(super) fn cell(&self, name: &str) -> Option<&Cell> {
        let mut cells = self.0.iter();
        cells.find_map(|(other, cell)| (*other == name).then_some(cell))
    }
}

/// A whole answer: summary, lists and the columns of its table.
#[derive(Debug, Clone, Default)]
pub(super) struct Sheet {
    /// The header of the response; absent where an answer consists of several responses.
    pub(super) header: Option<Header>,
    /// Cells of the answer itself.
    pub(super) summary: Record,
    /// Lists of records, by protobuf field name.
    pub(super) lists: Vec<(&'static str, Vec<Record>)>,
    /// Lists that have no rows in the table.
    pub(super) details: Vec<(&'static str, Vec<Record>)>,
    /// Columns of the table, by name, in their order. Its rows are the records of all lists, or the
    /// summary when there is no list.
    pub(super) columns: &'static [&'static str],
}

impl Sheet {
    /// All lists, in their order.
    pub(super) fn all_lists(&self) -> impl Iterator<Item = &(&'static str, Vec<Record>)> {
        self.lists.iter().chain(&self.details)
    }

    /// The rows of the table.
    pub(super) fn rows(&self) -> Vec<&Record> {
        if self.lists.is_empty() {
            return vec![&self.summary];
        }
        self.lists.iter().flat_map(|(_, list)| list).collect()
    }
}

/// `since_ms` as a field: `SinceMs`.
pub(super) fn field_name(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_uppercase() + rest
        })
        .collect()
}

/// `since_ms` as a heading: `since`. The cells print their unit.
pub(super) fn heading(name: &'static str) -> &'static str {
    name.strip_suffix("_ms").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_wire_become_fields_and_headings() {
        assert_eq!(field_name("since_ms"), "SinceMs");
        assert_eq!(field_name("key"), "Key");
        assert_eq!((heading("since_ms"), heading("key")), ("since", "key"));
    }
}

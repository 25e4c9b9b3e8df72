//! Commands on keys, and reads of them.

use bytes::Bytes;

use super::{Command, operation};
use crate::{
    encoding::{self, Decoder, Encoded, Encoder, Malformed, flags},
    outcome::DeleteReply,
    value::{KeyRange, KeyValue, LeaseId, Revision},
};

/// Flag of puts and deletes.
const WANT_PREVIOUS: u8 = 1;
/// Flag of puts.
const IGNORE_VALUE: u8 = 2;
const IGNORE_LEASE: u8 = 4;

/// Flag of range queries.
const KEYS_ONLY: u8 = 1;
const COUNT_ONLY: u8 = 2;
/// Flag of range queries: bounds on revisions follow.
const FILTERS: u8 = 4;

/// Stores a value under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// Never empty.
    pub key: Bytes,
    /// Empty when `ignore_value` is set.
    pub value: Bytes,
    /// Attaches the key to this lease; [`LeaseId::NONE`] detaches it from any.
    pub lease: LeaseId,
    /// Return the record that was replaced.
    pub want_previous: bool,
    /// Keep the present value; refused if the key does not exist.
    pub ignore_value: bool,
    /// Keep the present lease; refused if the key does not exist.
    pub ignore_lease: bool,
}

// The reply is the replaced record, if requested and present.
operation! { Put: it => Command::Put(it); Option<KeyValue>: Put(previous) => previous }

impl Put {
    const FLAGS: u8 = WANT_PREVIOUS | IGNORE_VALUE | IGNORE_LEASE;

    /// Checks an encoding. Skips over byte strings instead of taking references to them.
    pub(super) fn check(input: &mut Decoder<'_>) -> Result<(), Malformed> {
        input.flags(Self::FLAGS)?;
        input.slice()?;
        input.slice()?;
        input.signed().map(drop)
    }
}

impl Encoded for Put {
    fn write(&self, out: &mut Encoder) {
        out.byte(flags(&[
            (self.want_previous, WANT_PREVIOUS),
            (self.ignore_value, IGNORE_VALUE),
            (self.ignore_lease, IGNORE_LEASE),
        ]));
        out.value(&self.key);
        out.value(&self.value);
        out.value(&self.lease);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let flags = input.flags(Self::FLAGS)?;
        Ok(Self {
            key: input.value()?,
            value: input.value()?,
            lease: input.value()?,
            want_previous: flags & WANT_PREVIOUS != 0,
            ignore_value: flags & IGNORE_VALUE != 0,
            ignore_lease: flags & IGNORE_LEASE != 0,
        })
    }
}

/// Deletes the keys of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRange {
    /// The keys to delete.
    pub range: KeyRange,
    /// Return the records that were deleted.
    pub want_previous: bool,
}

operation! {
    DeleteRange: it => Command::DeleteRange(it);
    DeleteReply: DeleteRange(reply) => reply
}

impl Encoded for DeleteRange {
    fn write(&self, out: &mut Encoder) {
        out.byte(flags(&[(self.want_previous, WANT_PREVIOUS)]));
        out.value(&self.range);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let flags = input.flags(WANT_PREVIOUS)?;
        Ok(Self {
            range: input.value()?,
            want_previous: flags & WANT_PREVIOUS != 0,
        })
    }
}

/// Compacts: moves the floor, below which history cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compact(pub Revision);

operation! { Compact: Compact(revision) => Command::Compact(revision); (): Compact => () }

/// Reads the keys of a range. A command only inside a [`super::Txn`]; otherwise a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    /// The keys to read.
    pub range: KeyRange,
    /// Most records to return; zero or less means all.
    pub limit: i64,
    /// Read as of this revision; zero or less means the latest.
    pub revision: Revision,
    /// The order of the result.
    pub sort_order: SortOrder,
    /// The field to sort by.
    pub sort_target: SortTarget,
    /// Leave the values out.
    pub keys_only: bool,
    /// Return only the count.
    pub count_only: bool,
    /// Inclusive bounds on revisions; zero means unbounded.
    pub min_mod_revision: Revision,
    /// See `min_mod_revision`.
    pub max_mod_revision: Revision,
    /// See `min_mod_revision`.
    pub min_create_revision: Revision,
    /// See `min_mod_revision`.
    pub max_create_revision: Revision,
}

impl RangeQuery {
    /// Reads all keys of `range` at the latest revision, in key order.
    #[must_use]
    pub const fn latest(range: KeyRange) -> Self {
        Self {
            range,
            limit: 0,
            revision: Revision(0),
            sort_order: SortOrder::None,
            sort_target: SortTarget::Key,
            keys_only: false,
            count_only: false,
            min_mod_revision: Revision(0),
            max_mod_revision: Revision(0),
            min_create_revision: Revision(0),
            max_create_revision: Revision(0),
        }
    }

    /// Returns the bounds on revisions, in the order in which they are encoded.
    const fn filters(&self) -> [Revision; 4] {
        [
            self.min_mod_revision,
            self.max_mod_revision,
            self.min_create_revision,
            self.max_create_revision,
        ]
    }
}

impl Encoded for RangeQuery {
    fn write(&self, out: &mut Encoder) {
        let filters = self.filters();
        let has_filters = filters != [Revision(0); 4];
        out.byte(flags(&[
            (self.keys_only, KEYS_ONLY),
            (self.count_only, COUNT_ONLY),
            (has_filters, FILTERS),
        ]));
        out.value(&self.range);
        out.value(&self.limit);
        out.value(&self.revision);
        out.value(&self.sort_order);
        out.value(&self.sort_target);
        if has_filters {
            filters.iter().for_each(|filter| out.value(filter));
        }
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let flags = input.flags(KEYS_ONLY | COUNT_ONLY | FILTERS)?;
        let mut query = Self::latest(input.value()?);
        query.keys_only = flags & KEYS_ONLY != 0;
        query.count_only = flags & COUNT_ONLY != 0;
        query.limit = input.value()?;
        query.revision = input.value()?;
        query.sort_order = input.value()?;
        query.sort_target = input.value()?;
        if flags & FILTERS != 0 {
            query.min_mod_revision = input.value()?;
            query.max_mod_revision = input.value()?;
            query.min_create_revision = input.value()?;
            query.max_create_revision = input.value()?;
        }
        Ok(query)
    }
}

/// Direction of a sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// By key; if the target is another field, as `Ascend`.
    #[default]
    None,
    /// Lowest first.
    Ascend,
    /// Highest first.
    Descend,
}

encoding::choice! {
    SortOrder { 0 = None, 1 = Ascend, 2 = Descend } "unknown sort order"
}

/// The field to sort by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create revision.
    Create,
    /// The mod revision.
    Mod,
    /// The value.
    Value,
}

encoding::choice! {
    SortTarget { 0 = Key, 1 = Version, 2 = Create, 3 = Mod, 4 = Value } "unknown sort target"
}

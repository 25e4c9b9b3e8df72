//! The machine's counters: one replicated row, in the same batch as the data it counts.
//!
//! Invariant: the fields are a function of the commands applied. Nothing node-local is in here.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    context::Context,
    engine::{Table, View},
    error::Fault,
    feature::FeatureLevel,
    keys::{MetaRow, damaged, split_i64, split_u64},
    types::{ClusterTime, Revision},
};

/// First byte of the row; another layout gets another number.
const LAYOUT: u8 = 1;
/// Bit in the row's flags: a `NoSpace` alarm is active.
const FLAG_NO_SPACE: u64 = 1;
/// Bit in the row's flags: a `Corrupt` alarm is active.
const FLAG_CORRUPT: u64 = 2;
/// Where in the row's flags the feature level begins; it takes sixteen bits. A version that knows
/// no levels does not open a state with one.
const LEVEL_SHIFT: u32 = 8;

/// What the machine knows about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Log index of the last entry applied; 0 before the first.
    pub applied_index: u64,
    /// Term of that entry.
    pub applied_term: u64,
    /// The latest revision.
    pub revision: Revision,
    /// The compact revision, the oldest that can be read; -1 while nothing was ever compacted.
    pub floor: Revision,
    /// The greatest stamp seen.
    pub now: ClusterTime,
    /// Bytes of every history record ever written, keys included, collected ones too.
    pub history_bytes: u64,
    /// Bytes of the latest records: keys, values and headers.
    pub live_bytes: u64,
    /// Number of keys.
    pub keys: u64,
    /// Number of leases.
    pub leases: u64,
    /// Whether any member has a `NoSpace` alarm.
    pub no_space: bool,
    /// Whether any member has a `Corrupt` alarm.
    pub corrupt: bool,
    /// The feature level in force.
    pub level: FeatureLevel,
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            applied_index: 0,
            applied_term: 0,
            revision: Revision::EMPTY,
            floor: Revision(-1),
            now: ClusterTime(0),
            history_bytes: 0,
            live_bytes: 0,
            keys: 0,
            leases: 0,
            no_space: false,
            corrupt: false,
            level: FeatureLevel::FIRST,
        }
    }
}

impl Meta {
    /// The counters of `view`; those of an empty machine when there are none yet.
    pub(crate) fn load(view: &dyn View) -> Result<Self, Fault> {
        match view.get(Table::Meta, MetaRow::Counters.key())? {
            None => Ok(Self::default()),
            Some(row) => Self::decode(&row),
        }
    }

    /// Takes over what an entry says about itself. Time and index never go back.
    pub(crate) fn advance(&mut self, context: &Context) {
        self.applied_index = self.applied_index.max(context.index);
        self.applied_term = self.applied_term.max(context.term);
        self.now = self.now.max(context.now);
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut flags = 0;
        if self.no_space {
            flags |= FLAG_NO_SPACE;
        }
        if self.corrupt {
            flags |= FLAG_CORRUPT;
        }
        flags |= u64::from(self.level.0) << LEVEL_SHIFT;
        let mut row = BytesMut::with_capacity(81);
        row.put_u8(LAYOUT);
        row.put_u64(self.applied_index);
        row.put_u64(self.applied_term);
        row.put_i64(self.revision.0);
        row.put_i64(self.floor.0);
        row.put_u64(self.now.0);
        row.put_u64(self.history_bytes);
        row.put_u64(self.live_bytes);
        row.put_u64(self.keys);
        row.put_u64(self.leases);
        row.put_u64(flags);
        row.freeze()
    }

    fn decode(row: &[u8]) -> Result<Self, Fault> {
        let parsed = (|| {
            let (&LAYOUT, rest) = row.split_first()? else {
                return None;
            };
            let (applied_index, rest) = split_u64(rest)?;
            let (applied_term, rest) = split_u64(rest)?;
            let (revision, rest) = split_i64(rest)?;
            let (floor, rest) = split_i64(rest)?;
            let (now, rest) = split_u64(rest)?;
            let (history_bytes, rest) = split_u64(rest)?;
            let (live_bytes, rest) = split_u64(rest)?;
            let (keys, rest) = split_u64(rest)?;
            let (leases, rest) = split_u64(rest)?;
            let (flags, rest) = split_u64(rest)?;
            let level = FeatureLevel(u16::try_from(flags >> LEVEL_SHIFT).ok()?);
            let known = FLAG_NO_SPACE | FLAG_CORRUPT | (u64::from(u16::MAX) << LEVEL_SHIFT);
            let valid = rest.is_empty() && flags & !known == 0;
            valid.then_some(Self {
                applied_index,
                applied_term,
                revision: Revision(revision),
                floor: Revision(floor),
                now: ClusterTime(now),
                history_bytes,
                live_bytes,
                keys,
                leases,
                no_space: flags & FLAG_NO_SPACE != 0,
                corrupt: flags & FLAG_CORRUPT != 0,
                level,
            })
        })();
        let meta = parsed.ok_or_else(|| damaged("counters are of an unknown layout"))?;
        meta.level.known()?;
        Ok(meta)
    }
}

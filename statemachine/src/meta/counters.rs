//! The machine's counters: one replicated row, in the same batch as the data it counts.
//!
//! Invariant: the fields are a function of the applied commands. None is node-local.

use crate::{
    encoding::{Decoder, Encoder, Malformed},
    engine::{Table, View},
    error::Fault,
    feature::FeatureLevel,
    rows::{Row, keys::MetaRow},
    value::{ClusterTime, Context, Revision},
};

/// Layout version, the first byte of the row.
const LAYOUT: u8 = 1;
/// Bit in the row's flags: a `NoSpace` alarm is active.
const FLAG_NO_SPACE: u64 = 1;
/// Bit in the row's flags: a `Corrupt` alarm is active.
const FLAG_CORRUPT: u64 = 2;
/// Bit in the row's flags: authentication is enabled.
const FLAG_AUTHENTICATES: u64 = 4;
/// Position of the feature level in the row's flags; it takes sixteen bits. A version without
/// feature levels does not open a state that has one.
const LEVEL_SHIFT: u32 = 8;

/// The counters and replicated properties of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Log index of the last entry applied; 0 before the first.
    pub applied_index: u64,
    /// Term of that entry.
    pub applied_term: u64,
    /// The latest revision.
    pub revision: Revision,
    /// The compact revision, the oldest that can be read; -1 before the first compaction.
    pub floor: Revision,
    /// The cluster time: the greatest stamp of an entry so far.
    pub now: ClusterTime,
    /// Bytes of all history records ever written, keys and collected ones included.
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
    /// Whether authentication is enabled. Here too, because every read asks for it.
    pub authenticates: bool,
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
            authenticates: false,
            level: FeatureLevel::FIRST,
        }
    }
}

impl Meta {
    /// Loads the counters from `view`; those of an empty machine if there are none yet.
    pub(crate) fn load(view: &dyn View) -> Result<Self, Fault> {
        let found = Self::find(view, Table::Meta, MetaRow::Counters.key())?;
        let meta = found.unwrap_or_default();
        known(meta.level)?;
        Ok(meta)
    }

    /// Takes index, term and time from an entry. Time and index never decrease.
    pub(crate) fn advance(&mut self, context: &Context) {
        self.applied_index = self.applied_index.max(context.index);
        self.applied_term = self.applied_term.max(context.term);
        self.now = self.now.max(context.now);
    }

    /// Raises the feature level. No effect if it is in force already.
    pub(crate) fn raise(&mut self, level: FeatureLevel) -> Result<(), Fault> {
        self.level = self.level.max(known(level)?);
        Ok(())
    }
}

/// Fails for a level that this version does not know.
fn known(level: FeatureLevel) -> Result<FeatureLevel, Fault> {
    if level <= FeatureLevel::NEWEST {
        Ok(level)
    } else {
        Err(Fault::TooOld {
            level,
            newest: FeatureLevel::NEWEST,
        })
    }
}

impl Row for Meta {
    const DAMAGED: &'static str = "counters are of an unknown layout";

    fn room(&self) -> usize {
        81
    }

    fn write_row(&self, out: &mut Encoder) {
        let mut flags = u64::from(self.level.0) << LEVEL_SHIFT;
        if self.no_space {
            flags |= FLAG_NO_SPACE;
        }
        if self.corrupt {
            flags |= FLAG_CORRUPT;
        }
        if self.authenticates {
            flags |= FLAG_AUTHENTICATES;
        }
        out.byte(LAYOUT);
        out.fixed(self.applied_index);
        out.fixed(self.applied_term);
        out.fixed(self.revision);
        out.fixed(self.floor);
        out.fixed(self.now);
        out.fixed(self.history_bytes);
        out.fixed(self.live_bytes);
        out.fixed(self.keys);
        out.fixed(self.leases);
        out.fixed(flags);
    }

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.version(LAYOUT)?;
        let mut meta = Self {
            applied_index: input.fixed()?,
            applied_term: input.fixed()?,
            revision: input.fixed()?,
            floor: input.fixed()?,
            now: input.fixed()?,
            history_bytes: input.fixed()?,
            live_bytes: input.fixed()?,
            keys: input.fixed()?,
            leases: input.fixed()?,
            ..Self::default()
        };
        let flags: u64 = input.fixed()?;
        meta.no_space = flags & FLAG_NO_SPACE != 0;
        meta.corrupt = flags & FLAG_CORRUPT != 0;
        meta.authenticates = flags & FLAG_AUTHENTICATES != 0;
        let unknown = Malformed::Form("unknown flag");
        meta.level = FeatureLevel(u16::try_from(flags >> LEVEL_SHIFT).map_err(|_| unknown)?);
        let bits = FLAG_NO_SPACE | FLAG_CORRUPT | FLAG_AUTHENTICATES;
        let known = bits | (u64::from(u16::MAX) << LEVEL_SHIFT);
        if flags & !known == 0 {
            Ok(meta)
        } else {
            Err(unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::assert_exact;

    #[test]
    fn counters_are_read_as_they_were_written() {
        let numbers = any::<([u64; 6], [i64; 2], [bool; 3], u16)>();
        assert_exact(numbers.prop_map(
            |(counts, revisions, [no_space, corrupt, authenticates], level)| {
                let [applied_index, applied_term, now, live_bytes, keys, leases] = counts;
                Meta {
                    applied_index,
                    applied_term,
                    revision: Revision(revisions[0]),
                    floor: Revision(revisions[1]),
                    now: ClusterTime(now),
                    history_bytes: now.wrapping_add(live_bytes),
                    live_bytes,
                    keys,
                    leases,
                    no_space,
                    corrupt,
                    authenticates,
                    level: FeatureLevel(level),
                }
            },
        ));
    }
}

//! Deduplication of groups by their origin: a group that is proposed twice takes effect once.
//!
//! A node names each of its lives (its *origin*) and numbers the groups of a life. A row per origin
//! keeps the greatest number applied and a window of the numbers below it. The number of rows is
//! bounded; the origin that was idle for longest is evicted.
//!
//! # Invariants
//! A group is applied at most once, however often it is in the log, also if its origin's row was
//! evicted meanwhile. Proof: a group names an index that its origin had applied before the group
//! was first proposed, so the group is applied above that index. A row is created with the *floor*,
//! which is no lower than the last index of any row evicted before. A group that was applied before
//! its row was evicted therefore names an index below the floor, and is void. A void group is not
//! applied, now or later, because every copy of it names the same index.

use crate::{
    codec::Group,
    engine::{Table, View},
    error::{Fault, damaged},
    rows::{
        self, Family, Overlay, Row,
        keys::{self, split_u64},
    },
};

/// Numbers below an origin's greatest that are tracked. A node must not number a group this far
/// ahead of one that it may still propose.
pub const ORIGIN_WINDOW: u64 = 128;

/// Most origins remembered: a life of each of nine members and several restarts of each; the row of
/// a member that writes is never the oldest.
pub const ORIGINS_MAX: usize = 64;

/// The decision on a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Its commands must be applied.
    New,
    /// Its commands were already applied.
    Repeated,
    /// Its commands are not applied: whether they were applied before is unknown.
    Void,
}

/// The state of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OriginRow {
    /// The greatest number applied.
    greatest: u64,
    /// Bit `n`: `greatest - n` was applied.
    window: u128,
    /// Groups that name an index below this one are void.
    floor: u64,
    /// The index at which a group of the origin was last applied.
    last: u64,
}

/// The greatest last index of the rows evicted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct OriginsFloor {
    floor: u64,
}

rows::row! { OriginsFloor { floor }, "floor of origins is not eight bytes" }

rows::row! {
    OriginRow { greatest, window, floor, last }, "origin row is not of its length"
}

impl OriginRow {
    /// Marks `sequence` as applied, unless it is already or that is unknown.
    fn admit(&mut self, sequence: u64) -> Admission {
        if let Some(ahead) = sequence.checked_sub(self.greatest).filter(|n| *n > 0) {
            let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
            self.window = self.window.checked_shl(shift).unwrap_or(0) | 1;
            self.greatest = sequence;
            return Admission::New;
        }
        let behind = self.greatest.saturating_sub(sequence);
        let bit = u32::try_from(behind)
            .ok()
            .and_then(|n| 1_u128.checked_shl(n));
        match bit {
            None => Admission::Void,
            Some(bit) if self.window & bit != 0 => Admission::Repeated,
            Some(bit) => {
                self.window |= bit;
                Admission::New
            }
        }
    }
}

/// Decides on `group` in entry `index`, and records it. A group that does not name an index that
/// its origin had applied comes from a version that never proposes a group twice: it is always new.
pub(crate) fn admit(overlay: &mut Overlay, index: u64, group: &Group) -> Result<Admission, Fault> {
    let Some(since) = group.since else {
        return Ok(Admission::New);
    };
    let key = keys::origin(group.origin);
    let known = OriginRow::find(overlay, Table::Cluster, &key)?;
    let mut row = match known {
        Some(row) => row,
        None => create(overlay, group.sequence)?,
    };
    if since < row.floor {
        return Ok(Admission::Void);
    }
    let admission = if known.is_none() {
        Admission::New
    } else {
        row.admit(group.sequence)
    };
    debug_assert!(row.window & 1 == 1, "the greatest number is in its window");
    debug_assert!(row.greatest >= group.sequence, "and none is greater");
    if admission == Admission::New {
        debug_assert!(row.last <= index, "entries are applied in order");
        row.last = index;
        overlay.put(Table::Cluster, key, row.encode());
    }
    Ok(admission)
}

/// Creates a row for a new origin, whose group `sequence` is applied. Evicts a row if necessary.
fn create(overlay: &mut Overlay, sequence: u64) -> Result<OriginRow, Fault> {
    let mut floor = floor(overlay)?;
    let mut rows = rows(overlay)?;
    debug_assert!(rows.len() <= ORIGINS_MAX, "origins are bounded");
    rows.sort_unstable_by_key(|(origin, row)| (row.last, *origin));
    // There is never more than one too many, so evicting one suffices.
    if rows.len() >= ORIGINS_MAX
        && let Some((origin, oldest)) = rows.first()
    {
        floor = floor.max(oldest.last);
        overlay.delete(Table::Cluster, keys::origin(*origin));
        let row = OriginsFloor { floor }.encode();
        overlay.put(Table::Cluster, keys::origins_floor(), row);
    }
    Ok(OriginRow {
        greatest: sequence,
        window: 1,
        floor,
        last: 0,
    })
}

/// Returns the greatest last index of the rows evicted so far.
fn floor(view: &dyn View) -> Result<u64, Fault> {
    let floor = OriginsFloor::find(view, Table::Cluster, &keys::origins_floor())?;
    Ok(floor.unwrap_or_default().floor)
}

/// Returns every origin's row, by origin.
fn rows(view: &dyn View) -> Result<Vec<(u64, OriginRow)>, Fault> {
    let mut found = Vec::new();
    let mut cursor = view.scan(Table::Cluster, &keys::origin(0))?;
    while let Some((key, row)) = cursor.next()? {
        match Family::Origin.rest(&key) {
            Some(origin) => match split_u64(origin) {
                Some((origin, [])) => found.push((origin, OriginRow::decode(&row)?)),
                _ => return Err(damaged("origin row has no origin")),
            },
            None => break,
        }
    }
    Ok(found)
}

/// Checks the rows: their number is bounded, each has its greatest number in its window, none was
/// evicted from above the floor.
pub(crate) fn check(view: &dyn View, applied_index: u64) -> Result<(), String> {
    let rows = rows(view).map_err(|fault| fault.to_string())?;
    let floor = floor(view).map_err(|fault| fault.to_string())?;
    if rows.len() > ORIGINS_MAX {
        return Err(format!("{} origins are remembered", rows.len()));
    }
    for (origin, row) in rows {
        let fine = row.window & 1 == 1 && row.last <= applied_index && row.floor <= floor;
        if !fine {
            return Err(format!("the row of origin {origin:x} contradicts itself"));
        }
    }
    Ok(())
}

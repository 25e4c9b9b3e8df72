//! Which changes can still be read.

use crate::{
    error::Fault,
    read::Reader,
    rows::keys::{ChangeKind, Stamp},
};

/// Whether a reader at or above the floor can still reach a change.
pub(crate) fn is_reachable(
    reader: &Reader<'_>,
    stamp: Stamp,
    kind: ChangeKind,
    key: &[u8],
) -> Result<bool, Fault> {
    let floor = reader.meta().floor;
    if stamp.main >= floor {
        return Ok(true);
    }
    let latest = reader.change_at(key, Stamp::last_of(floor))?;
    Ok(kind == ChangeKind::Put && latest.is_some_and(|(found, _)| found == stamp))
}

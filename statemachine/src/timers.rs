//! Timers: one row per action that is due at a cluster time, earliest first.
//!
//! Nothing here watches time: the leader reads the first row and proposes `Wake` once its own
//! estimate of cluster time has reached it. Invariant: a timer runs once, in a `Wake` whose stamp
//! has reached its time, or is cleared before.

use bytes::{BufMut, Bytes};

use crate::{
    access::StoredKey,
    engine::{Table, View},
    error::{Fault, damaged},
    read::Reader,
    rows::{Family, Overlay, keys::split_u64},
    value::{ClusterTime, Revision},
};

/// Most timers that one `Wake` runs. Each may make a revision, so the bound keeps a command from
/// blocking later writes for long; the leader proposes another `Wake` for the rest.
pub(crate) const TIMERS_PER_WAKE_MAX: usize = 500;

/// The action of a timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Ends the wait of the claim whose key was created in this revision.
    WaitOver(Revision, Bytes),
    /// Ends the lock delay of this name.
    DelayOver(Bytes),
    /// Removes the draining instance whose key was created in this revision.
    DrainOver(Revision, Bytes),
    /// Forgets this idempotency key.
    ForgetKey(StoredKey),
    /// Forgets this idempotency key of this client.
    ForgetClientKey(u64, StoredKey),
    /// Checks the hold of this service, and the window that counts its expiries.
    MassExpiryLook(Bytes),
}

impl Timer {
    fn row(&self, at: ClusterTime) -> Bytes {
        let mut row = Family::Timer.row(0);
        row.put_u64(at.0);
        match self {
            Self::WaitOver(token, key) => {
                row.put_u8(1);
                row.put_i64(token.0);
                row.put_slice(key);
            }
            Self::DelayOver(name) => {
                row.put_u8(2);
                row.put_slice(name);
            }
            Self::DrainOver(incarnation, key) => {
                row.put_u8(3);
                row.put_i64(incarnation.0);
                row.put_slice(key);
            }
            Self::ForgetKey(StoredKey::OfNobody(key)) => {
                row.put_u8(4);
                row.put_slice(key);
            }
            Self::ForgetKey(StoredKey::OfUser(key)) => {
                row.put_u8(7);
                row.put_slice(key);
            }
            Self::MassExpiryLook(service) => {
                row.put_u8(5);
                row.put_slice(service);
            }
            Self::ForgetClientKey(client, key) => {
                let (kind, key) = match key {
                    StoredKey::OfNobody(key) => (6, key),
                    StoredKey::OfUser(key) => (8, key),
                };
                row.put_u8(kind);
                row.put_u64(*client);
                row.put_slice(key);
            }
        }
        row.freeze()
    }

    pub(crate) fn parse(row: &Bytes) -> Result<Option<(ClusterTime, Self)>, Fault> {
        let Some(rest) = Family::Timer.rest(row) else {
            return Ok(None);
        };
        let parsed = (|| {
            let (at, rest) = split_u64(rest)?;
            let (kind, rest) = rest.split_first()?;
            let with_revision = || {
                let (revision, rest) = split_u64(rest)?;
                let revision = Revision(revision.cast_signed());
                Some((revision, row.slice_ref(rest)))
            };
            let with_client = |stored: fn(Bytes) -> StoredKey| {
                let (client, key) = split_u64(rest)?;
                Some(Self::ForgetClientKey(client, stored(row.slice_ref(key))))
            };
            let timer = match kind {
                1 => with_revision().map(|(token, key)| Self::WaitOver(token, key))?,
                2 => Self::DelayOver(row.slice_ref(rest)),
                3 => with_revision().map(|(born, key)| Self::DrainOver(born, key))?,
                4 => Self::ForgetKey(StoredKey::OfNobody(row.slice_ref(rest))),
                5 => Self::MassExpiryLook(row.slice_ref(rest)),
                6 => with_client(StoredKey::OfNobody)?,
                7 => Self::ForgetKey(StoredKey::OfUser(row.slice_ref(rest))),
                8 => with_client(StoredKey::OfUser)?,
                _ => return None,
            };
            Some((ClusterTime(at), timer))
        })();
        parsed
            .map(Some)
            .ok_or_else(|| damaged("timer row is of an unknown shape"))
    }
}

/// Sets a timer. No effect if it is already set for the same time.
pub(crate) fn set(overlay: &mut Overlay, at: ClusterTime, timer: &Timer) {
    overlay.put(Table::Cluster, timer.row(at), Bytes::new());
}

/// Clears a timer that was set for this time; no effect if there is none.
pub(crate) fn clear(overlay: &mut Overlay, at: ClusterTime, timer: &Timer) {
    overlay.delete(Table::Cluster, timer.row(at));
}

/// Whether a timer is set for this time. For the invariants.
pub(crate) fn is_set(view: &dyn View, at: ClusterTime, timer: &Timer) -> Result<bool, Fault> {
    Ok(view.get(Table::Cluster, &timer.row(at))?.is_some())
}

/// Returns the time of the earliest timer.
pub(crate) fn next(view: &dyn View) -> Result<Option<ClusterTime>, Fault> {
    let mut cursor = view.scan(Table::Cluster, Family::Timer.prefix())?;
    let first = cursor.next()?.map(|(row, _)| Timer::parse(&row));
    Ok(first.transpose()?.flatten().map(|(at, _)| at))
}

impl Reader<'_> {
    /// Returns when the next timer for a `Wake` is due.
    ///
    /// # Errors
    /// When the engine cannot read, or the row does not decode.
    pub fn next_timer(&self) -> Result<Option<ClusterTime>, Fault> {
        next(self.view)
    }
}

/// Removes and returns the timers due by `now`, at most the earliest [`TIMERS_PER_WAKE_MAX`].
pub(crate) fn take_due(overlay: &mut Overlay, now: ClusterTime) -> Result<Vec<Timer>, Fault> {
    let mut due = Vec::new();
    let mut rows = Vec::new();
    let mut cursor = overlay.scan(Table::Cluster, Family::Timer.prefix())?;
    while let Some((row, _)) = cursor.next()? {
        match Timer::parse(&row)? {
            Some((at, timer)) if at <= now && due.len() < TIMERS_PER_WAKE_MAX => {
                due.push(timer);
                rows.push(row);
            }
            _ => break,
        }
    }
    drop(cursor);
    debug_assert_eq!(due.len(), rows.len(), "every timer that is due is taken");
    for row in rows {
        overlay.delete(Table::Cluster, row);
    }
    Ok(due)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::MemEngine;

    #[test]
    fn timers_are_taken_once_in_order_and_never_early() {
        let mut overlay = Overlay::new(Arc::new(MemEngine::new()));
        let timers = [
            (30, Timer::WaitOver(Revision(7), Bytes::from_static(b"a/1"))),
            (10, Timer::DelayOver(Bytes::from_static(b"a"))),
            (
                20,
                Timer::DrainOver(Revision(9), Bytes::from_static(b"s/i")),
            ),
            (
                20,
                Timer::ForgetKey(StoredKey::OfNobody(Bytes::from_static(b"k"))),
            ),
        ];
        for (at, timer) in &timers {
            set(&mut overlay, ClusterTime(*at), timer);
        }
        let at = |time| ClusterTime(time);
        assert_eq!(next(&overlay).expect("reads"), Some(at(10)));
        clear(&mut overlay, at(20), &timers[3].1);
        assert_eq!(take_due(&mut overlay, at(9)).expect("reads"), []);
        let due = take_due(&mut overlay, at(20)).expect("reads");
        assert_eq!(due, [timers[1].1.clone(), timers[2].1.clone()]);
        let due = take_due(&mut overlay, at(99)).expect("reads");
        assert_eq!(due, [timers[0].1.clone()]);
        assert_eq!(next(&overlay).expect("reads"), None);
    }
}

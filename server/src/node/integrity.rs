//! What the `Corrupt` alarms say of this member's state: whether it may be read.
//!
//! Decided by the applied state alone, so it also holds after a restart. Invariant: it is current
//! before the outcome of an applied command is published, so whoever learns of an alarm finds the
//! member that it names closed to reads.

use std::sync::Arc;

use tenure_statemachine::{AlarmKind, MemberId, Reader};
use tokio::sync::watch;
use tracing::{error, info};

use crate::{fatal, metrics::Metrics, storage::StateStore};

/// What the alarms say of a member's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Integrity {
    /// No alarm is about this member.
    #[default]
    Sound,
    /// An alarm names this member: its state differs from that of the majority.
    Differs,
    /// An alarm names no member: the states differ, and any of them may be wrong.
    Unknown,
}

impl Integrity {
    /// Derives it for member `own`. An alarm that names it says more than one that names none.
    #[must_use]
    pub fn of(alarms: &[(MemberId, AlarmKind)], own: MemberId) -> Self {
        if alarms.contains(&(own, AlarmKind::Corrupt)) {
            Self::Differs
        } else if alarms.contains(&(MemberId::UNNAMED, AlarmKind::Corrupt)) {
            Self::Unknown
        } else {
            Self::Sound
        }
    }
}

/// Follows the alarms of the applied state.
#[derive(Debug)]
pub(super) struct IntegrityFeed {
    own: MemberId,
    store: Arc<StateStore>,
    metrics: Arc<Metrics>,
    sender: watch::Sender<Integrity>,
}

impl IntegrityFeed {
    /// Reads the alarms of the state as it is found at the start.
    pub(super) fn new(own: MemberId, store: Arc<StateStore>, metrics: Arc<Metrics>) -> Self {
        let feed = Self {
            own,
            store,
            metrics,
            sender: watch::Sender::default(),
        };
        feed.look();
        feed
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Integrity> {
        self.sender.subscribe()
    }

    /// Reads the alarms again. To be called when a command changed them, or the state was replaced.
    pub(super) fn look(&self) {
        let engine = self.store.engine();
        let alarms = Reader::new(&*engine).and_then(|reader| reader.alarms());
        let alarms = alarms.unwrap_or_else(|fault| fatal::stop(&fault));
        self.metrics.alarm.set_raised(&alarms);
        let now = Integrity::of(&alarms, self.own);
        if self.sender.send_replace(now) != now {
            self.tell(now);
        }
    }

    fn tell(&self, now: Integrity) {
        let member = self.own;
        match now {
            Integrity::Sound => info!(%member, "the state of this member is read again"),
            Integrity::Differs => error!(
                %member,
                "the state of this member differs from that of the majority (alarm CORRUPT): it \
                 serves no reads, ends no leases and passes leadership on; replace the member"
            ),
            Integrity::Unknown => error!(
                %member,
                "the members' states differ and none has a majority (alarm CORRUPT): no member \
                 serves reads"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_about_the_member_that_it_names_or_about_all_when_it_names_none() {
        let own = MemberId(7);
        let of = |alarms: &[(u64, AlarmKind)]| {
            let alarms = alarms.iter().map(|(id, kind)| (MemberId(*id), *kind));
            Integrity::of(&alarms.collect::<Vec<_>>(), own)
        };
        assert_eq!(of(&[]), Integrity::Sound);
        assert_eq!(of(&[(7, AlarmKind::NoSpace)]), Integrity::Sound);
        assert_eq!(of(&[(8, AlarmKind::Corrupt)]), Integrity::Sound);
        assert_eq!(of(&[(0, AlarmKind::Corrupt)]), Integrity::Unknown);
        let both = [(0, AlarmKind::Corrupt), (7, AlarmKind::Corrupt)];
        assert_eq!(of(&both), Integrity::Differs);
    }
}

//! The feature levels that the other members report in their answers to heartbeats and appends.
//! Both are needed: a leader omits heartbeats while appends are answered.
//!
//! Only the leader sends either, so only a leader's records are current. Members of versions
//! without levels report none, which a heartbeat's answer decodes as level 0.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use tenure_statemachine::{FeatureLevel, MemberId};
use tokio::time::Instant;

/// The levels of the other members, as last reported.
#[derive(Debug, Default)]
pub struct Levels(Mutex<BTreeMap<MemberId, (FeatureLevel, Instant)>>);

impl Levels {
    /// Records the level in a member's answer. Values out of range count as the greatest.
    pub(super) fn heard(&self, member: MemberId, level: u32) {
        let level = FeatureLevel(u16::try_from(level).unwrap_or(u16::MAX));
        self.0.lock().insert(member, (level, Instant::now()));
    }

    /// The level that `member` reported, unless that is longer ago than `age_max`: its process may
    /// have been replaced by an older version since.
    #[must_use]
    pub fn of(&self, member: MemberId, age_max: Duration) -> Option<FeatureLevel> {
        let levels = self.0.lock();
        let (level, at) = levels.get(&member)?;
        (at.elapsed() <= age_max).then_some(*level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_heard_long_ago_does_not_count() {
        let (levels, member) = (Levels::default(), MemberId(7));
        let age_max = Duration::from_secs(1);
        assert_eq!(levels.of(member, age_max), None);
        levels.heard(member, 1);
        assert_eq!(levels.of(member, age_max), Some(FeatureLevel(1)));
        tokio::time::advance(age_max * 2).await;
        assert_eq!(levels.of(member, age_max), None);
        levels.heard(member, u32::MAX);
        assert_eq!(levels.of(member, age_max), Some(FeatureLevel(u16::MAX)));
    }
}

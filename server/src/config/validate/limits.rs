//! Rules for sizes, counts and times.

use std::time::Duration;

use super::Check;
use crate::config::{
    duration,
    flags::{self, Setting},
    gates::FeatureGates,
    settings::{AutoCompaction, DiskReserve},
};

/// Default quota: etcd's 2 GiB, so that alarms and dashboards have the same meaning.
const QUOTA_BYTES_DEFAULT: u64 = 2 << 30;

/// Quota above which etcd warns that a restart or a full copy takes long.
const QUOTA_BYTES_USUAL_MAX: u64 = 8 << 30;

/// Request size above which a request noticeably delays all others; etcd's limit for a warning.
const REQUEST_BYTES_USUAL_MAX: usize = 10 << 20;

/// Request size that, with half a mebibyte of framing, still fits into the 31 bits that other
/// implementations use for sizes.
const REQUEST_BYTES_MAX: usize = i32::MAX as usize - (512 << 10);

/// Operations of a transaction above which a single entry could stall the state machine for
/// seconds; a hundred times what any known client requests.
pub(super) const TXN_OPS_MAX: usize = 1 << 20;

/// Longest election timeout; etcd's value: beyond it a failed leader remains undetected too long.
const ELECTION_TIMEOUT_MAX: Duration = Duration::from_secs(50);

/// Heartbeats per election timeout, at least, so that one lost heartbeat starts no election.
const HEARTBEATS_PER_ELECTION_MIN: u32 = 5;

impl Check<'_> {
    pub(super) fn election_times(&mut self) -> (Duration, Duration) {
        let heartbeat = self.positive_millis(flags::HEARTBEAT_INTERVAL);
        let election = self.positive_millis(flags::ELECTION_TIMEOUT);
        let enough = heartbeat.checked_mul(HEARTBEATS_PER_ELECTION_MIN);
        if !election.is_zero() && enough.is_none_or(|enough| election < enough) {
            let remedy = format!(
                "an election timeout of {}ms is shorter than five heartbeats of {}ms; \
                 raise one or lower the other",
                election.as_millis(),
                heartbeat.as_millis(),
            );
            self.conflict(
                flags::ELECTION_TIMEOUT.name,
                flags::HEARTBEAT_INTERVAL.name,
                remedy,
            );
        }
        if election > ELECTION_TIMEOUT_MAX {
            self.bad(
                flags::ELECTION_TIMEOUT.name,
                "expected at most 50000 milliseconds".to_owned(),
            );
        }
        (heartbeat, election)
    }

    pub(super) fn snapshot_count(&mut self) -> u64 {
        match self.sources.uint(flags::SNAPSHOT_COUNT) {
            0 => flags::SNAPSHOT_COUNT.default,
            count => count,
        }
    }

    pub(super) fn quota(&mut self) -> Option<u64> {
        let quota = match u64::try_from(self.sources.int(flags::QUOTA_BACKEND_BYTES)) {
            Ok(0) => QUOTA_BYTES_DEFAULT,
            Ok(bytes) => bytes,
            Err(_) => return None,
        };
        if quota > QUOTA_BYTES_USUAL_MAX {
            self.warn(
                flags::QUOTA_BACKEND_BYTES.name,
                "above 8 GiB a full copy to a member takes long",
            );
        }
        Some(quota)
    }

    pub(super) fn disk_reserve(&self) -> DiskReserve {
        match u64::try_from(self.sources.int(flags::DISK_RESERVE_BYTES)) {
            Ok(0) => DiskReserve::Derived,
            Ok(bytes) => DiskReserve::Bytes(bytes),
            Err(_) => DiskReserve::Bytes(0),
        }
    }

    pub(super) fn feature_gates(&mut self) -> FeatureGates {
        // What was a switch in earlier versions of etcd is weaker than the gate itself.
        let switches = flags::GATES.iter().filter_map(|(name, gate)| {
            let value = self.sources.as_given(name)?;
            Some(format!("{gate}={value},"))
        });
        let text = switches.collect::<String>() + &self.sources.text(flags::FEATURE_GATES);
        match FeatureGates::parse(&text) {
            Ok((gates, warnings)) => {
                for warning in warnings {
                    self.warn(flags::FEATURE_GATES.name, &warning);
                }
                gates
            }
            Err(remedy) => {
                self.bad(flags::FEATURE_GATES.name, remedy);
                FeatureGates::default()
            }
        }
    }

    pub(super) fn compact_hash_check_time(&mut self, gates: &FeatureGates) -> Option<Duration> {
        let time = self.optional_duration(flags::COMPACT_HASH_CHECK_TIME);
        time.filter(|_| gates.compact_hash_check())
    }

    pub(super) fn request_bytes(&mut self) -> usize {
        let bytes = self.count(flags::MAX_REQUEST_BYTES, REQUEST_BYTES_MAX);
        if bytes > REQUEST_BYTES_USUAL_MAX {
            self.warn(
                flags::MAX_REQUEST_BYTES.name,
                "a request above 10 MiB delays all others",
            );
        }
        bytes
    }

    /// Reads a number from 1 to `max`.
    pub(super) fn count(&mut self, setting: Setting<u64>, max: usize) -> usize {
        let given = usize::try_from(self.sources.uint(setting)).unwrap_or(usize::MAX);
        if given == 0 || given > max {
            self.bad(
                setting.name,
                format!("expected a whole number from 1 to {max}"),
            );
        }
        given
    }

    pub(super) fn positive_u32(&mut self, setting: Setting<u32>) -> u32 {
        let given = self.sources.uint32(setting);
        if given == 0 {
            self.bad(setting.name, "expected at least 1".to_owned());
        }
        given
    }

    pub(super) fn positive_duration(&mut self, setting: Setting<Duration>) -> Duration {
        let given = self.sources.duration(setting);
        if given.is_zero() {
            self.bad(
                setting.name,
                "expected a duration above zero, such as 10s".to_owned(),
            );
        }
        given
    }

    fn positive_millis(&mut self, setting: Setting<u64>) -> Duration {
        let given = self.sources.millis(setting);
        if given.is_zero() {
            self.bad(setting.name, "expected at least 1 millisecond".to_owned());
        }
        given
    }

    pub(super) fn optional_duration(&mut self, setting: Setting<Duration>) -> Option<Duration> {
        Some(self.sources.duration(setting)).filter(|given| !given.is_zero())
    }

    pub(super) fn auto_compaction(&mut self) -> AutoCompaction {
        let text = self.sources.text(flags::AUTO_COMPACTION_RETENTION);
        let revisions = self.sources.text(flags::AUTO_COMPACTION_MODE) == "revision";
        match (revisions, flags::parse_uint(&text), duration::parse(&text)) {
            (_, Some(0), _) | (false, _, Some(Duration::ZERO)) => AutoCompaction::Off,
            (true, Some(count), _) => match i64::try_from(count) {
                Ok(count) => AutoCompaction::Revision(count),
                Err(_) => self.bad_retention("expected at most 9223372036854775807 revisions"),
            },
            (true, None, _) => self.bad_retention("expected a number of revisions, such as 1000"),
            (false, Some(hours), _) => match hours.checked_mul(3600) {
                Some(seconds) => AutoCompaction::Periodic(Duration::from_secs(seconds)),
                None => self.bad_retention("expected fewer hours"),
            },
            (false, None, Some(age)) => AutoCompaction::Periodic(age),
            (false, None, None) => {
                self.bad_retention("expected a duration such as 30m, or a number of hours")
            }
        }
    }

    fn bad_retention(&mut self, remedy: &str) -> AutoCompaction {
        self.bad(flags::AUTO_COMPACTION_RETENTION.name, remedy.to_owned());
        AutoCompaction::Off
    }
}

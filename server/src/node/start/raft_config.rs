//! Derives openraft's settings from those of the node.

use std::time::Duration;

use openraft::{SnapshotPolicy, StepDownPolicy};

use super::NodeConfig;

/// How long a leader that lost its quorum alternately suppresses and sends heartbeats, per phase,
/// in leases. openraft requires at least two.
const PROBE_LEASES: u64 = 3;
/// Fewest entries that openraft purges at once on its own.
const PURGE_BATCH: u64 = 512;
/// Most entries in one replication message; the log's reader bounds its bytes.
const APPEND_ENTRIES_MAX: u64 = 256;
/// Most entries of queued appends that openraft merges into one write.
const MERGED_ENTRIES_MAX: u64 = 4096;
/// Advisory only: the transfer enforces its own time limits.
const SNAPSHOT_TIMEOUT_MS: u64 = 60_000;
/// How long a removed leader still leads, in milliseconds.
const REMOVED_LEADER_GRACE_MS: u64 = 150;
/// The phases of a follower's time without a leader, in milliseconds.
///
/// openraft's follower first waits for the leader's lease to end, which is the longest election
/// timeout in its settings, and then for a random time between the shortest and the longest. Users
/// configure the silence after which an election may begin: lease plus shortest wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ElectionTimes {
    /// The lease, and the longest wait after it.
    lease: u64,
    /// The shortest wait after the lease.
    wait_min: u64,
}

impl ElectionTimes {
    /// A wait below two and a half heartbeats would take one lost heartbeat for a lost leader; the
    /// spread between the waits keeps two followers from campaigning at once.
    fn of(election: u64, heartbeat: u64) -> Self {
        let wait_min = (election * 3 / 10).max(heartbeat * 5 / 2 + 2);
        let lease = election
            .saturating_sub(wait_min)
            .max(wait_min + heartbeat.max(1));
        Self { lease, wait_min }
    }
}

pub(super) fn raft_config(config: &NodeConfig) -> openraft::Config {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let heartbeat = millis(config.heartbeat_interval);
    let times = ElectionTimes::of(millis(config.election_timeout), heartbeat);
    openraft::Config {
        cluster_name: format!("{:016x}", config.identity.cluster_id),
        heartbeat_interval: heartbeat,
        heartbeat_min_interval: Some(heartbeat),
        election_timeout_min: times.wait_min,
        election_timeout_max: times.lease,
        enable_pre_vote: Some(true),
        quorum_loss_probe_interval: Some(times.lease * PROBE_LEASES),
        // A restarted leader must not trust its old log: unflushed entries are lost.
        enable_leader_restore: Some(false),
        allow_log_reversion: None,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: config.snapshot_catchup_entries,
        purge_batch_size: PURGE_BATCH,
        max_payload_entries: APPEND_ENTRIES_MAX,
        max_append_entries: Some(MERGED_ENTRIES_MAX),
        api_batch_linger_ms: 0,
        broadcast_submitted_on_append: Some(true),
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        removed_leader_step_down: StepDownPolicy::After(REMOVED_LEADER_GRACE_MS),
        ..openraft::Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_begins_after_the_silence_that_was_set_and_soon() {
        let times = ElectionTimes::of(1000, 100);
        assert_eq!(times.lease + times.wait_min, 1000);
        assert!(times.lease * 2 <= 1400, "the longest silence: {times:?}");
    }

    #[test]
    fn every_setting_that_is_allowed_makes_a_valid_raft_config() {
        for heartbeat in [1, 2, 10, 100, 500, 5000] {
            for factor in [5, 6, 10, 50] {
                let times = ElectionTimes::of(heartbeat * factor, heartbeat);
                let config = openraft::Config {
                    heartbeat_interval: heartbeat,
                    heartbeat_min_interval: Some(heartbeat),
                    election_timeout_min: times.wait_min,
                    election_timeout_max: times.lease,
                    quorum_loss_probe_interval: Some(times.lease * PROBE_LEASES),
                    ..openraft::Config::default()
                };
                config.validate().unwrap();
                assert!(times.lease + times.wait_min >= heartbeat * factor);
            }
        }
    }
}

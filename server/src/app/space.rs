//! Watches the space of this node: the quota of its store, and the disk below its data directory.
//!
//! Writes that other members admit can exceed the quota of this one when theirs are larger, and
//! files of other programs can fill its disk. A node that admits a write checks its own quota; see
//! `rpc::Services`. Invariant: when the applied state exceeds the quota, or the disk has fewer free
//! bytes than are reserved, the alarm of this member is raised as soon as there is a leader.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tenure_statemachine::Revision;
use tracing::{info, warn};

use crate::{
    config::{Config, DiskReserve},
    metrics::Metrics,
    rpc::Services,
    storage::DiskSpace,
    tasks,
};

/// Time between two checks of the quota: few other writes follow one that exceeds it, and the cost
/// of a check is not noticeable to requests.
const QUOTA_PAUSE: Duration = Duration::from_millis(200);

/// Time between two checks of a disk with plenty of space.
const DISK_PAUSE: Duration = Duration::from_millis(500);

/// Time between two checks of a disk that is not far from its reserve: few writes fit into it, so
/// that little of the reserve is used before the alarm is raised. A check is one system call.
const DISK_PAUSE_NEAR: Duration = Duration::from_millis(20);

/// Bytes above the reserve below which a disk is not far from it: twice what a fast one takes
/// between two checks.
const NEAR_BYTES: u64 = 1 << 30;

/// Bytes reserved on a large disk: what memtables, compactions of the state and the log write while
/// an operator deletes and compacts.
const RESERVE_BYTES: u64 = 512 << 20;

/// Part of a small disk that is reserved.
const RESERVE_PART: u64 = 10;

/// Part of quota and reserve by which there must be space again before an alarm is cleared, so that
/// the next writes do not raise it again.
const CLEAR_PART: u64 = 10;

/// Starts the tasks; they end with the services.
pub(super) fn spawn(services: &Arc<Services>, metrics: &Arc<Metrics>, config: &Config) {
    tasks::spawn("quota", follow_quota(Arc::clone(services)));
    let disk = Disk {
        services: Arc::clone(services),
        metrics: Arc::clone(metrics),
        directory: config.data_dir.clone(),
        reserve: config.disk_reserve,
        quota_bytes: config.quota_backend_bytes,
        auto_clear: config.alarm_auto_clear,
    };
    tasks::spawn("disk-space", disk.watch());
}

async fn follow_quota(services: Arc<Services>) {
    let mut seen = Revision::EMPTY;
    while let Some(revision) = services.next_write(seen).await {
        seen = revision;
        services.watch_quota().await;
        tokio::time::sleep(QUOTA_PAUSE).await;
    }
}

/// The disk of the data directory.
struct Disk {
    services: Arc<Services>,
    metrics: Arc<Metrics>,
    directory: PathBuf,
    reserve: DiskReserve,
    quota_bytes: Option<u64>,
    auto_clear: bool,
}

impl Disk {
    async fn watch(self) {
        let mut pause = DISK_PAUSE_NEAR;
        loop {
            // Cancel-safe: nothing is lost when the pause is cut short.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.services.stopped() => return,
            }
            let directory = self.directory.clone();
            match tasks::spawn_blocking(move || DiskSpace::of(&directory)).await {
                Ok(Ok(space)) => {
                    let reserve = reserve_of(self.reserve, space.total);
                    pause = pause_before(space.available, reserve);
                    self.look(space, reserve).await;
                }
                Ok(Err(error)) => {
                    warn!(%error, "the free bytes of the disk are not known");
                    pause = DISK_PAUSE;
                }
                // The runtime ends.
                Err(_) => return,
            }
        }
    }

    async fn look(&self, space: DiskSpace, reserve: u64) {
        let metrics = &self.metrics.alarm;
        metrics.disk_available_bytes.set(signed(space.available));
        metrics.disk_reserve_bytes.set(signed(reserve));
        if space.available < reserve {
            // A state that cannot be read ends the node elsewhere.
            if self.services.has_no_space().is_ok_and(|raised| !raised) {
                let available = space.available;
                warn!(
                    available,
                    reserve, "the disk is nearly full, raising the alarm NOSPACE"
                );
                self.services.set_no_space(true).await;
            }
        } else if self.auto_clear
            && has_room(
                space.available,
                reserve,
                self.services.logical_bytes(),
                self.quota_bytes,
            )
            && self.services.has_own_no_space().unwrap_or(false)
        {
            info!("there is space again, clearing the alarm NOSPACE of this member");
            self.services.set_no_space(false).await;
        }
    }
}

/// The bytes to reserve on a disk of `total` bytes.
fn reserve_of(reserve: DiskReserve, total: u64) -> u64 {
    match reserve {
        DiskReserve::Derived => RESERVE_BYTES.min(total / RESERVE_PART),
        DiskReserve::Bytes(bytes) => bytes,
    }
}

/// The pause before the next check of a disk.
fn pause_before(available: u64, reserve: u64) -> Duration {
    if reserve > 0 && available < reserve.saturating_add(NEAR_BYTES) {
        DISK_PAUSE_NEAR
    } else {
        DISK_PAUSE
    }
}

/// Whether there is clearly more space than at which the alarm is raised.
fn has_room(available: u64, reserve: u64, used: u64, quota: Option<u64>) -> bool {
    let disk = available >= reserve.saturating_add(reserve / CLEAR_PART);
    disk && quota.is_none_or(|quota| used <= quota - quota / CLEAR_PART)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn half_a_gigabyte_is_reserved_or_a_tenth_of_a_small_disk_unless_the_flag_says_otherwise() {
        let derived = |total| reserve_of(DiskReserve::Derived, total);
        assert_eq!(derived(100 << 30), 512 * MIB);
        assert_eq!(derived(1000 * MIB), 100 * MIB);
        assert_eq!(reserve_of(DiskReserve::Bytes(7), 1000 * MIB), 7);
        assert_eq!(reserve_of(DiskReserve::Bytes(0), 1000 * MIB), 0);
    }

    #[test]
    fn a_disk_is_looked_at_more_often_the_nearer_it_is_to_its_reserve() {
        assert_eq!(pause_before(512 * MIB + NEAR_BYTES, 512 * MIB), DISK_PAUSE);
        assert_eq!(pause_before(512 * MIB, 512 * MIB), DISK_PAUSE_NEAR);
        assert_eq!(pause_before(0, 0), DISK_PAUSE, "nothing is reserved");
    }

    #[test]
    fn an_alarm_is_cleared_a_tenth_below_the_quota_and_a_tenth_above_the_reserve() {
        assert!(has_room(110, 100, 900, Some(1000)));
        assert!(!has_room(109, 100, 900, Some(1000)));
        assert!(!has_room(110, 100, 901, Some(1000)));
        assert!(has_room(110, 100, 901, None));
        assert!(has_room(0, 0, 0, Some(0)));
    }
}

//! Processes that hold locks, and the pausing of them.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tenure_proto::v1::{Policy, SetPolicyRequest, fence_client::FenceClient};
use tenure_testkit::wait_until;
use tonic::transport::Endpoint;

use super::journal::{self, Journal, What};

/// Locks that are fought over side by side.
pub(super) const LOCKS: usize = 4;
/// Processes that want each.
const HOLDERS_PER_LOCK: usize = 3;
/// Time to live of the holders' leases.
const TTL: Duration = Duration::from_millis(600);
/// How long a lock may take to go to another, an election included.
const NEXT_GRANT_MAX: Duration = Duration::from_secs(60);

/// What keeps late writes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Off,
    Guards,
    Policy,
}

pub(super) fn lock_name(lock: usize) -> String {
    format!("jobs/{lock}")
}

pub(super) fn data_key(lock: usize) -> String {
    format!("data/{lock}")
}

/// Demands, for the data of each lock, a guard of that lock.
pub(super) async fn set_policies(addresses: &[String]) {
    let endpoint = Endpoint::from_shared(format!("http://{}", addresses[0])).unwrap();
    let mut fence = FenceClient::new(endpoint.connect().await.unwrap());
    for lock in 0..LOCKS {
        let policy = Policy {
            prefix: data_key(lock).into(),
            lock: lock_name(lock).into(),
        };
        let request = SetPolicyRequest {
            policy: Some(policy),
            options: None,
        };
        fence.set_policy(request).await.unwrap();
    }
}

/// All holders.
pub(super) struct Fleet {
    holders: Vec<Holder>,
    pauses: usize,
    _directory: TempDir,
}

struct Holder {
    lock: usize,
    process: Child,
    journal: PathBuf,
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Holder {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("a holder lives until the test ends it");
    }

    /// The token under which it holds its lock now, by its own journal.
    fn holds(&self) -> Option<i64> {
        let notes = journal::read(&self.journal);
        let last = notes.iter().rev().find(|note| {
            let ends = matches!(note.what, What::Released | What::Lost | What::Leaving(_));
            note.what == What::Granted || ends
        })?;
        (last.what == What::Granted).then_some(last.token)
    }
}

impl Fleet {
    pub(super) fn start(mode: Mode, addresses: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut holders = Vec::new();
        for lock in 0..LOCKS {
            for number in 0..HOLDERS_PER_LOCK {
                let journal = directory.path().join(format!("{lock}-{number}"));
                let process = Command::new(env!("CARGO_BIN_EXE_lock-holder"))
                    .env("HOLDER_ENDPOINTS", addresses.join(","))
                    .env("HOLDER_LOCK", lock_name(lock))
                    .env("HOLDER_KEY", data_key(lock))
                    .env("HOLDER_TTL_MS", TTL.as_millis().to_string())
                    .env("HOLDER_MODE", format!("{mode:?}").to_lowercase())
                    .env("HOLDER_JOURNAL", &journal)
                    .stdin(Stdio::null())
                    .spawn()
                    .expect("the holder is built with the tests");
                holders.push(Holder {
                    lock,
                    process,
                    journal,
                });
            }
        }
        Self {
            holders,
            pauses: 0,
            _directory: directory,
        }
    }

    /// Stops one holder of each lock while it holds, and lets it go on when another was granted
    /// the lock.
    pub(super) async fn pause_round(&mut self) {
        let rounds = (0..LOCKS).map(|lock| self.pause_one(lock));
        futures::future::join_all(rounds).await;
        self.pauses += LOCKS;
    }

    async fn pause_one(&self, lock: usize) {
        let of_lock: Vec<&Holder> = self.holders.iter().filter(|it| it.lock == lock).collect();
        // Stopped first, then looked at: what its journal says cannot change any more.
        let (victim, token) = wait_until("a holder is stopped while it holds", NEXT_GRANT_MAX, {
            let of_lock = of_lock.clone();
            async move || {
                for &holder in &of_lock {
                    if holder.holds().is_none() {
                        continue;
                    }
                    holder.signal(Signal::STOP);
                    if let Some(token) = holder.holds() {
                        return Ok((holder, token));
                    }
                    holder.signal(Signal::CONT);
                }
                Err("nobody holds the lock")
            }
        })
        .await;
        wait_until("the lock goes to another", NEXT_GRANT_MAX, async || {
            let next = of_lock.iter().flat_map(|it| journal::read(&it.journal));
            let mut grants = next.filter(|note| note.what == What::Granted);
            let passed = grants.any(|note| note.token > token);
            passed.then_some(()).ok_or("no later grant")
        })
        .await;
        victim.signal(Signal::CONT);
    }

    pub(super) const fn pauses(&self) -> usize {
        self.pauses
    }

    pub(super) const fn ttl(&self) -> Duration {
        TTL
    }

    /// Grants so far.
    pub(super) fn grants(&self) -> usize {
        let notes = self.journals().into_iter().flat_map(|it| it.notes);
        notes.filter(|note| note.what == What::Granted).count()
    }

    /// Waits until there were so many grants.
    pub(super) async fn wait_for_grants(&self, count: usize) {
        wait_until("there are more grants", NEXT_GRANT_MAX, async || {
            let grants = self.grants();
            (grants >= count).then_some(()).ok_or(grants)
        })
        .await;
    }

    /// Ends all holders and returns what they noted.
    pub(super) fn finish(&mut self) -> Vec<Journal> {
        for holder in &mut self.holders {
            drop(holder.process.kill());
            drop(holder.process.wait());
        }
        self.journals()
    }

    fn journals(&self) -> Vec<Journal> {
        let read = |holder: &Holder| Journal {
            lock: holder.lock,
            notes: journal::read(&holder.journal),
        };
        self.holders.iter().map(read).collect()
    }
}

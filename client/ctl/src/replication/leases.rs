//! Leases at the destination, under the ids of the source.
//!
//! A lease is granted there when a copied key names it, renewed while the source has it, and
//! revoked once the source does not and no copied key names it any more. Keys are deleted by the
//! copied deletions alone, so that they stay in the order of the source.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use tenure::{Client, Error, ErrorKind, LeaseId};
use tokio::{task::JoinHandle, time::sleep};

use super::{patience::is_passing, patiently, read_patiently};

/// Renewals under way at a time: enough for tens of thousands of leases, few enough not to crowd
/// out the copy.
const RENEWALS_MAX: usize = 32;
/// How often it is looked which leases are due.
const TICK: Duration = Duration::from_millis(500);
/// A lease is renewed this many times within its TTL.
const RENEWALS_PER_TTL: u32 = 4;
/// The TTL of a lease that ended at the source before it could be asked for: its keys are deleted
/// by a change that is on its way.
const ENDED_TTL: Duration = Duration::from_secs(60);

/// A lease that is renewed.
#[derive(Debug, Clone, Copy)]
struct Renewed {
    ttl: Duration,
    due: Instant,
}

type Table = BTreeMap<LeaseId, Renewed>;

/// The leases of the source at the destination. The renewals end when this is dropped.
#[derive(Debug)]
pub(crate) struct LeaseCopy {
    source: Client,
    destination: Client,
    table: Arc<Mutex<Table>>,
    task: JoinHandle<()>,
}

impl LeaseCopy {
    /// Begins with no lease, and renews those that are added.
    pub(crate) fn start(source: &Client, destination: &Client) -> Self {
        let table: Arc<Mutex<Table>> = Arc::default();
        let task = tokio::spawn(renew(destination.clone(), Arc::clone(&table)));
        Self {
            source: source.clone(),
            destination: destination.clone(),
            table,
            task,
        }
    }

    /// Renews all leases that the destination has, because they were restored with it.
    pub(crate) async fn adopt(&self) -> Result<usize, Error> {
        let list = read_patiently(async || self.destination.leases().list().await).await?;
        let renewals = stream::iter(list.into_vec()).map(|id| {
            let client = self.destination.clone();
            // A renewal tells the TTL, and gives all of it: nothing is to expire meanwhile.
            async move { (id, client.leases().keep_alive_once(id).await) }
        });
        let mut renewals = renewals.buffer_unordered(RENEWALS_MAX);
        while let Some((id, outcome)) = renewals.next().await {
            match outcome {
                Ok(lease) => self.note(id, lease.ttl()),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.count())
    }

    /// Makes sure that a lease exists at the destination.
    pub(crate) async fn ensure(&self, id: LeaseId) -> Result<(), Error> {
        if self.table().contains_key(&id) {
            return Ok(());
        }
        let ttl = ttl_of(&self.source, id).await?.unwrap_or(ENDED_TTL);
        self.grant(id, ttl).await
    }

    /// Grants the leases that only the source has, and revokes those that only the destination has
    /// and that have no keys there.
    pub(crate) async fn reconcile(&self) -> Result<(), Error> {
        let list = read_patiently(async || self.source.leases().list().await).await?;
        let present: BTreeSet<LeaseId> = list.iter().copied().collect();
        for id in &present {
            if self.table().contains_key(id) {
                continue;
            }
            // It may have ended since.
            if let Some(ttl) = ttl_of(&self.source, *id).await? {
                self.grant(*id, ttl).await?;
            }
        }
        let gone: Vec<LeaseId> = {
            let table = self.table();
            table
                .keys()
                .filter(|id| !present.contains(id))
                .copied()
                .collect()
        };
        for id in gone {
            self.end(id).await?;
        }
        Ok(())
    }

    /// Forgets a lease that the destination has ended.
    pub(crate) fn forget(&self, id: LeaseId) {
        self.table().remove(&id);
    }

    /// Number of leases that are renewed.
    pub(crate) fn count(&self) -> usize {
        self.table().len()
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<(), Error> {
        let leases = || self.destination.leases();
        let granted = patiently(async || leases().grant(ttl).id(id).await, is_passing).await;
        match granted {
            Ok(_) => {}
            // It was restored, or an attempt whose answer was lost has granted it.
            Err(error) if exists(&error) => {}
            Err(error) => return Err(error),
        }
        self.note(id, ttl);
        Ok(())
    }

    async fn end(&self, id: LeaseId) -> Result<(), Error> {
        let found = read_patiently(async || {
            let leases = self.destination.leases();
            leases.time_to_live(id).keys().await
        })
        .await?;
        if found.remaining().is_some() {
            if !found.keys().is_empty() {
                return Ok(());
            }
            let leases = || self.destination.leases();
            let revoked = patiently(async || leases().revoke(id).await, is_passing).await;
            match revoked {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.forget(id);
        Ok(())
    }

    fn note(&self, id: LeaseId, ttl: Duration) {
        let due = Instant::now();
        self.table().insert(id, Renewed { ttl, due });
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Drop for LeaseCopy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // The table is whole after every operation on it.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn exists(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::FailedPrecondition | ErrorKind::AlreadyExists
    ) && error.message().contains("lease already exists")
}

/// The TTL of a lease; `None` when it does not exist.
async fn ttl_of(client: &Client, id: LeaseId) -> Result<Option<Duration>, Error> {
    let found = read_patiently(async || client.leases().time_to_live(id).await).await?;
    Ok(found.remaining().map(|_| found.granted_ttl()))
}

/// Renews leases that are due, again and again.
async fn renew(client: Client, table: Arc<Mutex<Table>>) {
    loop {
        let now = Instant::now();
        let due: Vec<LeaseId> = {
            let table = lock(&table);
            let due = table.iter().filter(|(_, lease)| lease.due <= now);
            due.map(|(id, _)| *id).collect()
        };
        let renewals = stream::iter(due).map(|id| {
            let client = client.clone();
            async move { (id, client.leases().keep_alive_once(id).await) }
        });
        let mut renewals = renewals.buffer_unordered(RENEWALS_MAX);
        while let Some((id, outcome)) = renewals.next().await {
            let mut table = lock(&table);
            match outcome {
                Ok(_) => {
                    if let Some(lease) = table.get_mut(&id) {
                        lease.due = Instant::now() + lease.ttl / RENEWALS_PER_TTL;
                    }
                }
                // It ended; a key that names it grants it again.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    table.remove(&id);
                }
                // It stays due.
                Err(_) => {}
            }
        }
        sleep(TICK).await;
    }
}

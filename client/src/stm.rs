//! Software transactional memory, as in etcd's `clientv3/concurrency`: runs code that reads and
//! writes keys as one serializable transaction, and repeats it after a conflict.
//!
//! The invariant: all reads of an attempt show one revision, and its writes take effect only if no
//! key that it read has changed since. So attempts that succeed are serializable.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::{
    client::Client,
    error::{Error, ErrorKind},
    id::Revision,
    kv::{Delete, Get, Put},
    range::IntoBytes,
    response::{KeyValue, OpResponse, TxnResponse},
    retry::Backoff,
    txn::{Compare, Relation},
};

/// Attempts unless set: with pauses that grow to half a second on average, about half a minute.
const ATTEMPTS_MAX: u32 = 64;

/// Runs code as a transaction. Made by [`Client::stm`].
#[derive(Debug, Clone)]
#[must_use = "nothing is read or written before `run`"]
pub struct Stm {
    client: Client,
    attempts_max: u32,
}

/// One attempt of a transaction, with its read set and write set. Clones share them.
#[derive(Debug, Clone)]
pub struct StmTxn {
    client: Client,
    sets: Arc<Mutex<Sets>>,
}

/// The read set and the write set of one attempt.
#[derive(Debug, Default)]
struct Sets {
    /// The revision of all reads; that of the first one.
    revision: Option<Revision>,
    /// Keys that were read, or prefetched because an earlier attempt read them.
    reads: BTreeMap<Bytes, Option<KeyValue>>,
    /// The keys of `reads` that this attempt used, with their mod revisions.
    seen: BTreeMap<Bytes, Revision>,
    /// Values to be written; `None` for a deletion.
    writes: BTreeMap<Bytes, Option<Bytes>>,
    /// A read failed because its revision is compacted: the next attempt uses a later one.
    compacted: bool,
}

impl Client {
    /// Runs code as one serializable transaction. See [`Stm::run`].
    pub fn stm(&self) -> Stm {
        Stm {
            client: self.clone(),
            attempts_max: ATTEMPTS_MAX,
        }
    }
}

impl Stm {
    /// The most attempts; 64 unless set, at least one.
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts.max(1);
        self
    }

    /// Runs `attempt`, and commits its writes in one transaction if no key that it read has changed
    /// meanwhile; otherwise runs it again on the new state. So `attempt` must have no side effects.
    /// If it returns an error, nothing is written.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let moved = client
    ///     .stm()
    ///     .run(|txn| async move {
    ///         let Some(from) = txn.get("accounts/a").await? else {
    ///             return Ok(false);
    ///         };
    ///         txn.delete("accounts/a");
    ///         txn.put("accounts/b", from);
    ///         Ok::<_, tenure::Error>(true)
    ///     })
    ///     .await?;
    /// # drop(moved);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when every attempt conflicted, the error of `attempt`, and
    /// those of a transaction: with [`Error::outcome_unknown`] it may have been written, unless the
    /// client writes in a [session](crate::Session).
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the last attempt was written.
    pub async fn run<T, E, Attempt, Fut>(self, mut attempt: Attempt) -> Result<T, E>
    where
        Attempt: FnMut(StmTxn) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error>,
    {
        let mut backoff = Backoff::default();
        let mut ahead = Sets::default();
        for _ in 0..self.attempts_max {
            let sets = Arc::new(Mutex::new(ahead));
            let outcome = attempt(StmTxn {
                client: self.client.clone(),
                sets: Arc::clone(&sets),
            })
            .await;
            // Writes of a clone that outlives the attempt are ignored.
            let sets = std::mem::take(&mut *sets.lock());
            if !sets.compacted {
                let outcome = outcome?;
                match commit(&self.client, &sets).await? {
                    None => return Ok(outcome),
                    Some(found) => ahead = found,
                }
            } else {
                ahead = Sets::default();
            }
            // The pause is random, so that conflicting transactions do not conflict again.
            sleep(backoff.next_pause()).await;
        }
        let text = format!(
            "the keys that the transaction read changed during each of {} attempts",
            self.attempts_max
        );
        Err(Error::local(ErrorKind::Conflict, text).into())
    }
}

/// Commits an attempt. Returns `None` on success, and the prefetched state for the next attempt
/// after a conflict.
async fn commit(client: &Client, sets: &Sets) -> Result<Option<Sets>, Error> {
    // All reads show one revision, so a read-only attempt is serializable at it.
    if sets.writes.is_empty() {
        return Ok(None);
    }
    let mut txn = client.txn();
    for (key, &revision) in &sets.seen {
        txn = txn.when(Compare::mod_revision(key, Relation::Equal, revision));
    }
    for (key, value) in &sets.writes {
        txn = match value {
            Some(value) => txn.and_then(Put::new(key, value)),
            None => txn.and_then(Delete::new(key)),
        };
    }
    for key in sets.seen.keys() {
        txn = txn.or_else(Get::new(key));
    }
    let answer = txn.await?;
    Ok((!answer.succeeded()).then(|| Sets::ahead(sets, answer)))
}

impl Sets {
    /// The state found by a failed commit, as prefetched reads of the next attempt.
    fn ahead(last: &Self, answer: TxnResponse) -> Self {
        let revision = Some(answer.revision());
        let found = answer
            .into_results()
            .into_iter()
            .map(|result| match result {
                OpResponse::Get(found) => found.into_first(),
                _ => None,
            });
        Self {
            revision,
            reads: last.seen.keys().cloned().zip(found).collect(),
            ..Self::default()
        }
    }

    /// The value of a key that needs no request; adds it to the read set.
    fn known(&mut self, key: &Bytes) -> Option<Option<KeyValue>> {
        let read = self.reads.get(key)?.clone();
        self.see(key, read.as_ref());
        Some(read)
    }

    fn see(&mut self, key: &Bytes, read: Option<&KeyValue>) {
        let revision = read.map_or(Revision::default(), KeyValue::mod_revision);
        self.seen.insert(key.clone(), revision);
    }
}

impl StmTxn {
    /// Reads one key: the value written by this transaction, or else the value at the revision of
    /// the transaction's first read.
    ///
    /// # Errors
    /// The errors of a read; return them from the closure.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn get(&self, key: impl IntoBytes) -> Result<Option<Bytes>, Error> {
        let key = key.into_bytes();
        if let Some(written) = self.sets.lock().writes.get(&key) {
            return Ok(written.clone());
        }
        let read = self.read(key).await?;
        Ok(read.map(|kv| kv.value().clone()))
    }

    /// The revision of the last write of one key before this transaction; zero when the key does
    /// not exist.
    ///
    /// # Errors
    /// The errors of a read; return them from the closure.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn revision(&self, key: impl IntoBytes) -> Result<Revision, Error> {
        let read = self.read(key.into_bytes()).await?;
        Ok(read.map_or(Revision::default(), |kv| kv.mod_revision()))
    }

    async fn read(&self, key: Bytes) -> Result<Option<KeyValue>, Error> {
        loop {
            let revision = {
                let mut sets = self.sets.lock();
                if let Some(read) = sets.known(&key) {
                    return Ok(read);
                }
                sets.revision
            };
            let mut get = self.client.get(&key);
            if let Some(revision) = revision {
                get = get.revision(revision);
            }
            let found = get.await;
            let mut sets = self.sets.lock();
            let found = found.inspect_err(|error| {
                sets.compacted |= error.kind() == ErrorKind::Compacted;
            })?;
            // Of concurrent reads, the first response chooses the revision.
            let chosen = *sets.revision.get_or_insert(found.revision());
            if revision.is_some() || chosen == found.revision() {
                sets.reads.insert(key.clone(), found.into_first());
            }
        }
    }

    /// Writes one key when the transaction commits.
    pub fn put(&self, key: impl IntoBytes, value: impl IntoBytes) {
        let value = Some(value.into_bytes());
        self.sets.lock().writes.insert(key.into_bytes(), value);
    }

    /// Deletes one key when the transaction commits.
    pub fn delete(&self, key: impl IntoBytes) {
        self.sets.lock().writes.insert(key.into_bytes(), None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::fake::Fake;

    fn number(value: Option<Bytes>) -> i64 {
        value.map_or(0, |value| str::from_utf8(&value).unwrap().parse().unwrap())
    }

    async fn add(client: &Client, key: &'static str) -> Result<i64, Error> {
        let adding = client.stm().run(|txn| async move {
            let sum = number(txn.get(key).await?) + 1;
            txn.put(key, sum.to_string());
            assert_eq!(number(txn.get(key).await?), sum, "it sees what it writes");
            Ok::<_, Error>(sum)
        });
        adding.await
    }

    #[tokio::test]
    async fn nothing_is_lost_between_transactions_that_run_at_once() {
        let (_fake, client) = Fake::start().await;
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { add(&client, "n").await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(client.get("n").await.unwrap().value().unwrap(), "8");
    }

    #[tokio::test]
    async fn a_transaction_whose_reads_change_every_time_ends_with_a_conflict() {
        let (_fake, client) = Fake::start().await;
        let attempts = AtomicU32::new(0);
        let outcome = client.stm().attempts_max(3).run(|txn| {
            let (client, attempts) = (client.clone(), &attempts);
            async move {
                let seen = number(txn.get("n").await?);
                attempts.fetch_add(1, Ordering::Relaxed);
                client.put("n", (seen + 1).to_string()).await?;
                txn.put("n", "lost");
                Ok::<_, Error>(())
            }
        });
        let error = outcome.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.is_retryable() && !error.outcome_unknown());
        assert_eq!(attempts.load(Ordering::Relaxed), 3);
        // Each attempt saw the state found by the previous one.
        assert_eq!(client.get("n").await.unwrap().value().unwrap(), "3");
    }

    #[tokio::test]
    async fn an_error_of_the_code_writes_nothing() {
        let (_fake, client) = Fake::start().await;
        let outcome = client.stm().run(|txn| async move {
            txn.put("n", "1");
            txn.delete("m");
            Err::<(), _>(Error::local(ErrorKind::NotFound, "changed its mind"))
        });
        assert_eq!(outcome.await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(client.get("n").await.unwrap().first().is_none());
    }
}

//! Shared by the recipes: exactly-once writes, and waiting for a state of keys.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    client::Client,
    error::{Error, ErrorKind},
    kv::Get,
    range::KeyRange,
    response::{GetResponse, TxnResponse},
    retry::Backoff,
    session,
    txn::Txn,
};

/// Time to live of the session that a handle writes in. Long enough to survive an election of the
/// cluster; the server keeps the session of a crashed client for this long.
const SESSION_TTL: Duration = Duration::from_secs(30);

/// The same client with its writes in a session that is opened on demand.
pub(super) fn exact(client: &Client) -> Client {
    client.sequenced(session::automatic(SESSION_TTL))
}

/// Commits a transaction; retries in another session if the session was lost before anything was
/// sent.
pub(super) async fn commit(txn: impl Fn() -> Txn<Client>) -> Result<TxnResponse, Error> {
    match txn().await {
        Err(error) if error.kind() == ErrorKind::SessionLost && !error.outcome_unknown() => {
            txn().await
        }
        outcome => outcome,
    }
}

/// Repeats an optimistic read, compare and write until it succeeds. `attempt` returns its result,
/// or `None` after a conflict.
pub(super) async fn compete<T, Attempt, Fut>(attempt: Attempt) -> Result<T, Error>
where
    Attempt: Fn() -> Fut,
    Fut: Future<Output = Result<Option<T>, Error>>,
{
    let mut backoff = Backoff::default();
    loop {
        if let Some(outcome) = attempt().await? {
            return Ok(outcome);
        }
        // The pause is random, so that clients that conflicted do not conflict again.
        sleep(backoff.next_pause()).await;
    }
}

/// Waits until `wanted` returns a result for the keys of a range. Retries after transient failures.
///
/// # Cancel safety
/// Cancel safe: it only reads.
pub(super) async fn until<T>(
    client: &Client,
    range: KeyRange,
    options: impl Fn(Get<Client>) -> Get<Client>,
    mut wanted: impl FnMut(GetResponse) -> Option<T>,
) -> Result<T, Error> {
    let mut backoff = Backoff::default();
    loop {
        let looking = look(client, &range, &options, &mut wanted, &mut backoff);
        match looking.await {
            // The history is compacted: read again.
            Err(error) if error.kind() == ErrorKind::Compacted => {}
            Err(error) if error.allows_resume() => {
                tracing::debug!(%error, "waiting for keys resumes");
            }
            outcome => return outcome,
        }
        sleep(backoff.next_pause()).await;
    }
}

/// Reads the range, and again after every change.
async fn look<T>(
    client: &Client,
    range: &KeyRange,
    options: &impl Fn(Get<Client>) -> Get<Client>,
    wanted: &mut impl FnMut(GetResponse) -> Option<T>,
    backoff: &mut Backoff,
) -> Result<T, Error> {
    let mut watcher = None;
    loop {
        let answer = options(client.get(range.clone())).await?;
        let seen = answer.revision();
        if let Some(found) = wanted(answer) {
            return Ok(found);
        }
        let changes = match &mut watcher {
            Some(changes) => changes,
            unwatched => {
                // A node without a quorum would never report a change.
                let watch = client.watch(range.clone()).start_revision(seen.next());
                unwatched.insert(watch.require_leader().await?)
            }
        };
        backoff.reset();
        loop {
            let Some(update) = changes.next().await else {
                let text = "the watch ended";
                return Err(Error::local(ErrorKind::Unavailable, text));
            };
            // Changes that were read already need no second read.
            if update?.revision() > seen {
                break;
            }
        }
    }
}

//! Compares the whole history of two clusters at one revision, by etcd's `HashKV`.
//!
//! The hash covers what is not compacted, so the destination is compacted as the source is.

use std::time::Duration;

use anyhow::anyhow;
use tenure::{Client, ErrorKind, HistoryHash, Revision};
use tokio::time::sleep;

use crate::{failure::Failure, replication::read_patiently};

/// Attempts: the source may be compacted between two questions, and removes history after it
/// answers.
const ATTEMPTS_MAX: u32 = 20;
/// Hashes that differ over the same history, before that is believed.
const DIFFERENCES_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_millis(250);

/// Compares both histories up to `revision`, which the destination is at. Returns the hash.
pub(super) async fn hashes(
    source: &Client,
    destination: &Client,
    revision: Revision,
) -> Result<u32, Failure> {
    let mut last = None;
    let mut differing = 0;
    for _ in 0..ATTEMPTS_MAX {
        let ours = hash(source, revision).await?;
        let mut theirs = hash(destination, revision).await?;
        if theirs.compact_revision() < ours.compact_revision() {
            compact(destination, ours.compact_revision()).await?;
            theirs = hash(destination, revision).await?;
        }
        if ours.compact_revision() == theirs.compact_revision() {
            if ours.hash() == theirs.hash() {
                return Ok(ours.hash());
            }
            differing += 1;
        }
        last = Some((ours, theirs));
        if differing >= DIFFERENCES_MAX {
            break;
        }
        sleep(PAUSE).await;
    }
    let text = match last {
        Some((ours, theirs)) => format!(
            "the histories differ at revision {}: HashKV {} of the source (compacted at {}), {} \
             of the destination (compacted at {})",
            revision.get(),
            ours.hash(),
            ours.compact_revision().get(),
            theirs.hash(),
            theirs.compact_revision().get()
        ),
        None => "there is no hash".to_owned(),
    };
    Err(anyhow!(text).into())
}

async fn hash(client: &Client, revision: Revision) -> Result<HistoryHash, tenure::Error> {
    read_patiently(async || client.maintenance().hash_kv(revision).await).await
}

async fn compact(client: &Client, revision: Revision) -> Result<(), Failure> {
    match client.maintenance().compact(revision).physical().await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::Compacted => Ok(()),
        Err(error) => Err(error.into()),
    }
}

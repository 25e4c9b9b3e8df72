//! `check perf|datascale`: writes generated keys and measures the cluster.
//!
//! The keys of a check are deleted afterwards, also after an interrupt.

mod datascale;
mod memory;
mod perf;
mod report;

use std::time::Duration;

use tenure::{Client, KeyRange};

pub(super) use datascale::datascale;
pub(super) use perf::perf;

use super::Session;
use crate::{args::Cleanup, failure::Failure};

/// Deadline of the work after a check, as in etcdctl: it touches everything that was written.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);

/// Refuses a prefix that contains keys.
async fn require_empty(client: &Client, prefix: &str) -> Result<(), Failure> {
    let found = client.get(KeyRange::prefix(prefix)).limit(1).await?;
    if found.kvs().is_empty() {
        return Ok(());
    }
    let text =
        format!("prefix {prefix:?} has keys. Delete with 'tenurectl del --prefix {prefix}' first");
    Err(Failure::Input(text))
}

/// A client of its own for each writer, so that each has its own connection.
fn writers(session: &Session, count: usize) -> Result<Vec<Client>, Failure> {
    let endpoints: Vec<_> = session.client.endpoints().map(str::to_owned).collect();
    let endpoints = endpoints.iter().cycle().take(count);
    endpoints
        .map(|endpoint| Ok(session.client.only(endpoint)?))
        .collect()
}

/// Deletes the keys of the check, then compacts and defragments if requested.
async fn clean_up(session: &Session, prefix: &str, cleanup: Cleanup) -> Result<(), Failure> {
    let client = session.client.with_timeout(CLEANUP_TIMEOUT);
    let output = session.output;
    let deleted = match client.delete(KeyRange::prefix(prefix)).await {
        Ok(deleted) => deleted,
        Err(error) => {
            let text = format!("FAIL: Cleanup failed during key deletion: ERROR({error})\n");
            return output.say(text.as_bytes());
        }
    };
    if cleanup.auto_compact {
        let revision = deleted.revision();
        output.say(format!("Compacting with revision {revision}\n").as_bytes())?;
        client.maintenance().compact(revision).physical().await?;
        output.say(format!("Compacted with revision {revision}\n").as_bytes())?;
    }
    if cleanup.auto_defrag {
        for endpoint in session.client.endpoints() {
            output.say(format!("Defragmenting {endpoint:?}\n").as_bytes())?;
            client.only(endpoint)?.maintenance().defragment().await?;
            output.say(format!("Defragmented {endpoint:?}\n").as_bytes())?;
        }
    }
    Ok(())
}

/// A key below `prefix` of `length` more bytes, different for every number.
fn key(prefix: &str, length: usize, number: u64) -> Vec<u8> {
    let mut key = prefix.as_bytes().to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key.resize(prefix.len() + length, 0);
    key
}

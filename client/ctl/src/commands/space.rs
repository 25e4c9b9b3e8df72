//! What `alarm list` adds when there is no space: how much of each quota is used, how much must go,
//! and which prefixes take most.
//!
//! On standard error: standard output has the lines that scripts for etcdctl expect. Reads a
//! bounded number of keys, without the quorum; what their older versions take is estimated.

use std::collections::BTreeMap;

use futures::future::join_all;
use tenure::{Alarm, AlarmKind, Error, KeyRange, KeyValue, Status};

use super::{Session, print_message};

/// Keys that are read at most, and in one request: a few seconds, and a few megabytes at once.
const KEYS_MAX: usize = 10_000;
const PAGE_KEYS: u32 = 250;
/// Prefixes that are shown.
const SHOWN_MAX: usize = 8;
/// Segments of a key that make its prefix: `/registry/pods/`, `state/jobs/`.
const SEGMENTS_MAX: usize = 2;
/// An alarm that clears itself does so when a tenth of the quota is free.
const CLEAR_PART: u64 = 10;

/// Prints what fills the space, if an alarm says that there is none. A server that does not answer
/// is left out, because the list of alarms was printed already.
pub(super) async fn explain(session: &Session, alarms: &[Alarm]) {
    let lacking = alarms
        .iter()
        .filter(|alarm| alarm.kind() == AlarmKind::NoSpace);
    let lacking: Vec<_> = lacking.map(Alarm::member_id).collect();
    if lacking.is_empty() {
        return;
    }
    let endpoints = session.endpoints(true).await.unwrap_or_default();
    let asked = endpoints.iter().map(|endpoint| async move {
        let client = session.client.only(endpoint).ok()?;
        client.maintenance().status().await.ok()
    });
    for status in join_all(asked).await.into_iter().flatten() {
        if lacking.contains(&status.header().member_id()) {
            print_message(usage(&status));
        }
    }
    match sample(session).await {
        Ok(sample) => sample.lines().iter().for_each(print_message),
        Err(error) => print_message(format_args!("The keys could not be read ({error})")),
    }
}

/// One line on a member that has the alarm.
fn usage(status: &Status) -> String {
    let (size, quota) = (status.db_size_bytes(), status.db_size_quota_bytes());
    let member = status.header().member_id().get();
    let begin = format!("member {member:x} uses {size} of {quota} bytes");
    let clear = quota - quota / CLEAR_PART;
    if quota > 0 && size > clear {
        let missing = size - clear;
        format!("{begin}; compact away {missing} bytes, so that a tenth is free, then disarm")
    } else {
        format!("{begin}; it has room: disarm, and if the alarm comes back, look at its disk")
    }
}

/// Sums over the keys that were read.
#[derive(Debug, Default)]
struct Sample {
    prefixes: BTreeMap<Vec<u8>, Sum>,
    keys: usize,
    is_whole: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    keys: usize,
    /// Bytes of the latest versions.
    latest: u64,
    /// Bytes of all versions, if they are of one size.
    all: u64,
}

impl Sample {
    fn add(&mut self, kv: &KeyValue) {
        let bytes = (kv.key().len() + kv.value().len()) as u64;
        let versions = u64::try_from(kv.version()).unwrap_or(1).max(1);
        let sum = self.prefixes.entry(prefix_of(kv.key())).or_default();
        sum.keys += 1;
        sum.latest += bytes;
        sum.all = sum.all.saturating_add(bytes.saturating_mul(versions));
        self.keys += 1;
    }

    fn lines(&self) -> Vec<String> {
        let part = if self.is_whole { "all" } else { "the first" };
        let mut lines = vec![format!(
            "Of {part} {} keys, by what their versions take if all are of one size:",
            self.keys
        )];
        let mut largest: Vec<_> = self.prefixes.iter().collect();
        largest.sort_by_key(|(_, space)| std::cmp::Reverse(space.all));
        for (prefix, sum) in largest.into_iter().take(SHOWN_MAX) {
            let Sum { keys, latest, all } = sum;
            let prefix = prefix.escape_ascii();
            lines.push(format!(
                "  {all} bytes, {latest} of them the latest versions of {keys} keys: {prefix}"
            ));
        }
        lines
    }
}

async fn sample(session: &Session) -> Result<Sample, Error> {
    let mut sample = Sample::default();
    let mut next = KeyRange::all();
    while sample.keys < KEYS_MAX {
        let page = session
            .client
            .get(next)
            .limit(PAGE_KEYS)
            .serializable()
            .await?;
        page.kvs().iter().for_each(|kv| sample.add(kv));
        let last = page.kvs().last().map(|kv| kv.key().to_vec());
        let Some(mut after) = last.filter(|_| page.more()) else {
            sample.is_whole = true;
            break;
        };
        after.push(0);
        next = KeyRange::from_key(after);
    }
    Ok(sample)
}

/// The first segments of a key, with the slash that ends them; a key without any is a prefix itself
/// up to its first character that is no letter.
fn prefix_of(key: &[u8]) -> Vec<u8> {
    let mut segments = 0;
    let mut end = 0;
    for (at, byte) in key.iter().enumerate() {
        if *byte == b'/' && at > 0 {
            segments += 1;
            end = at + 1;
            if segments == SEGMENTS_MAX {
                break;
            }
        }
    }
    if end == 0 {
        let other = key.iter().position(|byte| !byte.is_ascii_alphabetic());
        end = other.map_or(key.len(), |at| at.max(1));
    }
    key.iter().take(end).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_a_key_is_its_first_two_segments_or_its_first_word() {
        for (key, prefix) in [
            ("/registry/pods/default/a", "/registry/pods/"),
            ("state/jobs/42/phase", "state/jobs/"),
            ("state/jobs", "state/"),
            ("user-17", "user"),
            ("17", "1"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(prefix_of(key.as_bytes()), prefix.as_bytes(), "{key}");
        }
    }
}

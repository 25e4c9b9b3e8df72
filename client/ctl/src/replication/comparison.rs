//! Compares two ranges, key by key, in one pass and with one page of each in memory.

use std::cmp::Ordering;

use bytes::Bytes;
use tenure::{Error, KeyValue};

use super::pages::{Pages, order};
use crate::quoting::quote;

/// Differences that are named. One is enough to know; a few show a pattern.
const NAMED_MAX: usize = 10;

/// How keys of the source are called at the destination.
#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    /// The prefix that is replaced.
    pub(crate) from: Bytes,
    /// What replaces it.
    pub(crate) to: Bytes,
}

impl Mapping {
    /// The name at the destination. Only keys below the prefix are given.
    pub(crate) fn key(&self, key: &Bytes) -> Bytes {
        if self.from == self.to {
            return key.clone();
        }
        let rest = key.strip_prefix(&self.from[..]).unwrap_or(key);
        [&self.to[..], rest].concat().into()
    }
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Keys that are the same.
    pub(crate) equal: u64,
    /// Keys that are not.
    pub(crate) different: u64,
    /// The first of them, and how they differ.
    pub(crate) named: Vec<String>,
}

impl Comparison {
    fn name(&mut self, key: &[u8], how: &str) {
        self.different += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(format!("{} {how}", quote(key)));
        }
    }
}

/// Compares keys, values and, if wanted, leases. `skipped` is a key of the destination that is not
/// the source's.
pub(crate) async fn compare(
    source: &mut Pages,
    destination: &mut Pages,
    mapping: &Mapping,
    with_leases: bool,
    skipped: Option<&Bytes>,
) -> Result<Comparison, Error> {
    let mut found = Comparison::default();
    let mut ours = source.next().await?;
    let mut theirs = other(destination, skipped).await?;
    loop {
        let key = ours.as_ref().map(|kv| mapping.key(kv.key()));
        let there = theirs.as_ref().map(|kv| kv.key().clone());
        match (order(key.as_deref(), there.as_deref()), &key, &there) {
            (_, None, None) => return Ok(found),
            (Ordering::Less, Some(key), _) => {
                found.name(key, "is missing at the destination");
                ours = source.next().await?;
            }
            (Ordering::Greater, _, Some(there)) => {
                found.name(there, "is at the destination only");
                theirs = other(destination, skipped).await?;
            }
            (_, key, there) => {
                let key = key.as_ref().or(there.as_ref()).cloned().unwrap_or_default();
                match (&ours, &theirs) {
                    (Some(a), Some(b)) if a.value() != b.value() => {
                        found.name(&key, "has another value");
                    }
                    (Some(a), Some(b)) if with_leases && a.lease() != b.lease() => {
                        found.name(&key, "has another lease");
                    }
                    _ => found.equal += 1,
                }
                ours = source.next().await?;
                theirs = other(destination, skipped).await?;
            }
        }
    }
}

async fn other(pages: &mut Pages, skipped: Option<&Bytes>) -> Result<Option<KeyValue>, Error> {
    let mut found = pages.next().await?;
    while found.as_ref().is_some_and(|kv| Some(kv.key()) == skipped) {
        found = pages.next().await?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_once_and_at_the_start_only() {
        let mapping = Mapping {
            from: "a/".into(),
            to: "b/c/".into(),
        };
        assert_eq!(mapping.key(&"a/a/1".into()), "b/c/a/1");
        let stripped = Mapping {
            from: "a/".into(),
            to: Bytes::new(),
        };
        assert_eq!(stripped.key(&"a/1".into()), "1");
    }
}

//! Reads the keys of a range at one revision, in order, a page at a time.
//!
//! Invariant: all pages show one revision, unless [`Pages::moving`] says otherwise, and memory
//! holds one page, whose size follows that of the keys.

use std::{cmp::Ordering, collections::VecDeque};

use bytes::Bytes;
use tenure::{Client, Error, KeyRange, KeyValue, Revision};

use super::read_patiently;

/// Keys of the first page: few, because nothing is known of their size.
const KEYS_FIRST: u32 = 64;
/// Keys of any page: those that etcd's own mirror reads at a time.
const KEYS_MAX: u32 = 1000;
/// Bytes that a page should have. One may exceed it where small keys are followed by large ones:
/// with sixteen times as many keys at most, see [`next_limit`].
const PAGE_BYTES: usize = 4 << 20;

/// The keys of a range at a revision.
#[derive(Debug)]
pub(crate) struct Pages {
    client: Client,
    revision: Revision,
    /// Where the next page begins; `None` after the last one.
    next: Option<Bytes>,
    end: Bytes,
    limit: u32,
    keys_only: bool,
    is_moving: bool,
    page: VecDeque<KeyValue>,
}

impl Pages {
    /// Reads `range` at `revision`; zero means the latest, which the first page decides.
    pub(crate) fn new(client: &Client, range: &KeyRange, revision: Revision) -> Self {
        Self {
            client: client.clone(),
            revision,
            next: Some(range.start().clone()),
            end: range.end().clone(),
            limit: KEYS_FIRST,
            keys_only: false,
            is_moving: false,
            page: VecDeque::new(),
        }
    }

    /// Leaves values out.
    pub(crate) fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Reads each page at the latest revision. For a range whose writer is the one who reads it,
    /// and has done its writes below the place that is read.
    pub(crate) fn moving(mut self) -> Self {
        self.is_moving = true;
        self
    }

    /// Begins at `key` instead of the start of the range.
    pub(crate) fn starting_at(mut self, key: Bytes) -> Self {
        self.next = Some(key);
        self
    }

    /// The revision that is read; zero before the first page.
    pub(crate) const fn revision(&self) -> Revision {
        self.revision
    }

    /// The next key, or nothing after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<KeyValue>, Error> {
        if self.page.is_empty() {
            self.load().await?;
        }
        Ok(self.page.pop_front())
    }

    async fn load(&mut self) -> Result<(), Error> {
        let Some(start) = self.next.clone() else {
            return Ok(());
        };
        let range = KeyRange::between(&start, &self.end);
        let answer = read_patiently(async || {
            let mut get = self.client.get(range.clone()).limit(self.limit);
            if self.keys_only {
                get = get.keys_only();
            }
            get.revision(self.revision).await
        })
        .await?;
        if !self.is_moving && self.revision == Revision::default() {
            self.revision = answer.revision();
        }
        let more = answer.more();
        self.page = answer.into_kvs().into();
        self.next = self
            .page
            .back()
            .filter(|_| more)
            .map(|kv| key_after(kv.key()));
        let bytes = |kv: &KeyValue| kv.key().len() + kv.value().len();
        let bytes = self.page.iter().map(bytes).sum();
        self.limit = next_limit(self.limit, self.page.len(), bytes);
        Ok(())
    }
}

/// How many keys the next page may have, so that it is about [`PAGE_BYTES`] large if they are like
/// the last ones. It grows slowly and shrinks at once.
fn next_limit(limit: u32, keys: usize, bytes: usize) -> u32 {
    let each = bytes / keys.max(1);
    let fitting = PAGE_BYTES / each.max(1);
    let fitting = u32::try_from(fitting).unwrap_or(KEYS_MAX);
    fitting.clamp(1, KEYS_MAX.min(limit.saturating_mul(2)))
}

/// The first key after `key`.
pub(crate) fn key_after(key: &Bytes) -> Bytes {
    [&key[..], &[0]].concat().into()
}

/// Which of two keys comes first; one that is there comes before none.
pub(crate) fn order(a: Option<&[u8]>, b: Option<&[u8]>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_grow_while_keys_are_small_and_shrink_at_once_for_large_ones() {
        assert_eq!(next_limit(64, 64, 1_000), 128);
        assert_eq!(next_limit(800, 800, 10_000), KEYS_MAX);
        assert_eq!(next_limit(1000, 64, 64 << 20), 4);
        assert_eq!(next_limit(3, 3, 24 << 20), 1);
        assert_eq!(next_limit(64, 0, 0), 128);
    }

    #[test]
    fn the_key_after_one_is_the_next_that_is_possible() {
        let key = Bytes::from_static(b"a");
        assert!(key_after(&key) > key);
        assert!(key_after(&key) < b"a\x01"[..]);
        assert_eq!(order(None, Some(b"a")), Ordering::Greater);
        assert_eq!(order(Some(b"a"), None), Ordering::Less);
    }
}

//! Computes the digest of this node's state at a requested index, for comparison among members.
//!
//! The apply path pauses at exactly that index while a view of the state is taken. A separate
//! thread computes the digest from the view, at a pace that leaves the processor to other work.
//!
//! # Invariants
//! A digest is only ever returned for the requested index. One is computed at a time, and only
//! while its caller waits: each retains a view of the whole state.

use std::{ops::ControlFlow, sync::Arc, thread, time::Duration};

use parking_lot::Mutex;
use tenure_statemachine::{Fault, Reader, digest_paced, engine::Engine};
use tokio::sync::{Semaphore, oneshot};

use crate::{fatal, storage::StateStore, tasks};

/// Bytes digested between two pauses.
const SLICE_BYTES: usize = 256 << 10;
/// The pause after a slice; with the slice's own time, this gives 10 to 20 MB a second.
const SLICE_PAUSE: Duration = Duration::from_millis(15);

/// Digests computed concurrently. A view retains files on disk that the state no longer uses, and
/// the pace is chosen for one digest.
const COMPUTED_MAX: usize = 1;

/// The channel for the result: the digest, or `None` when the state is past the index.
type Answer = oneshot::Sender<Option<u64>>;

/// The requested index. A newer request replaces an older one.
#[derive(Debug)]
pub struct DigestPoint {
    store: Arc<StateStore>,
    wanted: Mutex<Option<(u64, Answer)>>,
    turns: Arc<Semaphore>,
}

impl DigestPoint {
    /// Starts without a request.
    #[must_use]
    pub fn new(store: Arc<StateStore>) -> Self {
        Self {
            store,
            wanted: Mutex::new(None),
            turns: Arc::new(Semaphore::new(COMPUTED_MAX)),
        }
    }

    /// Returns the digest of the state once it is at `index`; `None` when the state is past it,
    /// another index was requested meanwhile, or another digest is still being computed.
    ///
    /// # Cancel safety
    /// May be dropped at any time: the request is withdrawn, and its computation ends.
    pub async fn at(&self, index: u64) -> Option<u64> {
        let (answer, digest) = oneshot::channel();
        *self.wanted.lock() = Some((index, answer));
        // The index may be applied already, with no entry to follow. If it is applied at this
        // moment, either side may take the request, and both check the index of their view.
        if self.applied() >= index {
            self.reached(index).await;
        }
        digest.await.ok().flatten()
    }

    /// Returns how many of the entries after `applied` to apply before calling [`Self::reached`].
    pub(super) fn cut(&self, applied: u64, entries: usize) -> usize {
        let mut wanted = self.wanted.lock();
        // A caller that gave up leaves its request behind.
        wanted.take_if(|(_, answer)| answer.is_closed());
        let Some((index, _)) = *wanted else {
            return entries;
        };
        let before = usize::try_from(index.saturating_sub(applied)).unwrap_or(usize::MAX);
        if before == 0 {
            entries
        } else {
            before.min(entries)
        }
    }

    /// Takes a view of the state for the request, if there is one for an index up to `applied`.
    pub(super) async fn reached(&self, applied: u64) {
        let Some((index, answer)) = self.wanted.lock().take_if(|(index, _)| *index <= applied)
        else {
            return;
        };
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else {
            _ = answer.send(None);
            return;
        };
        let store = Arc::clone(&self.store);
        let (taken, view_taken) = oneshot::channel();
        let work = move || {
            let is_wanted = || !answer.is_closed();
            let digest = compute(&store, index, taken, &is_wanted);
            let digest = digest.unwrap_or_else(|fault| fatal::stop(&fault));
            drop(turn);
            // The caller may have given up.
            _ = answer.send(digest);
        };
        if tasks::spawn_thread("state-digest", work).is_ok() {
            _ = view_taken.await;
        }
    }

    fn applied(&self) -> u64 {
        let engine = self.store.engine();
        match Reader::new(&*engine) {
            Ok(reader) => reader.meta().applied_index,
            Err(fault) => fatal::stop(&fault),
        }
    }
}

fn compute(
    store: &StateStore,
    index: u64,
    taken: oneshot::Sender<()>,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Option<u64>, Fault> {
    let engine = store.engine();
    let view = engine.snapshot()?;
    // The apply path continues, whether it still waits or not.
    _ = taken.send(());
    if Reader::new(&*view)?.meta().applied_index != index {
        return Ok(None);
    }
    let mut bytes = 0;
    let mut pace = |row: usize| {
        bytes += row;
        if bytes >= SLICE_BYTES {
            bytes = 0;
            if !is_wanted() {
                return ControlFlow::Break(());
            }
            thread::sleep(SLICE_PAUSE);
        }
        ControlFlow::Continue(())
    };
    digest_paced(&*view, &mut pace)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::FutureExt;
    use tenure_statemachine::{Table, WriteBatch, WriteOp};

    use super::*;

    /// Slices of the state: its digest takes hundreds of times as long as the request.
    const SLICES: usize = 20;

    fn point() -> (tempfile::TempDir, DigestPoint) {
        let root = tempfile::tempdir().unwrap();
        let store = StateStore::open(root.path()).unwrap();
        let row = Bytes::from(vec![7; SLICE_BYTES]);
        let put = |number: usize| {
            let key = Bytes::from(number.to_be_bytes().to_vec());
            WriteOp::Put(Table::Leases, key, row.clone())
        };
        let ops = (0..SLICES).map(put).collect();
        store.engine().write(WriteBatch { ops }).unwrap();
        (root, DigestPoint::new(Arc::new(store)))
    }

    /// Regression: a leader that asked again made each member retain one more view, without bound.
    #[tokio::test]
    async fn a_member_computes_one_digest_at_a_time() {
        let (_root, point) = point();
        let (first, second) = tokio::join!(point.at(0), point.at(0));
        assert!(first.is_some());
        assert_eq!(second, None);
        assert_eq!(point.at(0).await, first, "the next one has its turn");
    }

    #[tokio::test]
    async fn an_index_is_forgotten_with_whoever_waited_for_it() {
        let (_root, point) = point();
        let mut given_up = Box::pin(point.at(3));
        assert!((&mut given_up).now_or_never().is_none());
        assert_eq!(point.cut(0, 10), 3);
        drop(given_up);
        assert_eq!(point.cut(0, 10), 10);
        assert!(point.wanted.lock().is_none());
    }

    #[test]
    fn a_digest_that_nobody_waits_for_any_more_is_broken_off() {
        let (_root, point) = point();
        let (taken, _) = oneshot::channel();
        let given_up = compute(&point.store, 0, taken, &|| false).unwrap();
        assert_eq!(given_up, None);
    }
}

//! The index at which this node's state is to be digested, so that members can compare theirs.
//!
//! The apply path stops for a moment at exactly that index, while a view of the state is taken; the
//! digest is computed from the view on a thread of its own, at a pace that leaves the processor to
//! others. Invariant: a digest is only ever given for the index that was asked for.

use std::{sync::Arc, thread, time::Duration};

use parking_lot::Mutex;
use tenure_statemachine::{Fault, Reader, digest_paced, engine::Engine};
use tokio::sync::oneshot;

use crate::{fatal, storage::StateStore, tasks};

/// Bytes digested between two pauses.
const SLICE_BYTES: usize = 256 << 10;
/// The pause: with a slice's time, 10 to 20 MB a second.
const SLICE_PAUSE: Duration = Duration::from_millis(15);

/// Where the answer goes: the digest, or `None` when the state is past the index.
type Answer = oneshot::Sender<Option<u64>>;

/// The index that is waited for. The newest request replaces the one before.
#[derive(Debug)]
pub struct DigestPoint {
    store: Arc<StateStore>,
    wanted: Mutex<Option<(u64, Answer)>>,
}

impl DigestPoint {
    /// Nothing is waited for.
    #[must_use]
    pub const fn new(store: Arc<StateStore>) -> Self {
        Self {
            store,
            wanted: Mutex::new(None),
        }
    }

    /// The digest of the state at `index`, once it is there; `None` when the state is past it, or
    /// another index was asked for meanwhile.
    pub async fn at(&self, index: u64) -> Option<u64> {
        let (answer, digest) = oneshot::channel();
        *self.wanted.lock() = Some((index, answer));
        // It may be there already, and nothing follows. Should it come just now, whichever of the
        // two takes the request looks again at what index its view has.
        if self.applied() >= index {
            self.reached(index).await;
        }
        digest.await.ok().flatten()
    }

    /// How many of the entries after `applied` to apply before [`Self::reached`] is to be called.
    pub(super) fn cut(&self, applied: u64, entries: usize) -> usize {
        let Some(index) = self.wanted.lock().as_ref().map(|(index, _)| *index) else {
            return entries;
        };
        let before = usize::try_from(index.saturating_sub(applied)).unwrap_or(usize::MAX);
        if before == 0 {
            entries
        } else {
            before.min(entries)
        }
    }

    /// Takes a view of the state if it is the one that is waited for.
    pub(super) async fn reached(&self, applied: u64) {
        let Some((index, answer)) = self.wanted.lock().take_if(|(index, _)| *index <= applied)
        else {
            return;
        };
        let store = Arc::clone(&self.store);
        let (taken, view_taken) = oneshot::channel();
        let work = move || {
            let digest = compute(&store, index, taken).unwrap_or_else(|fault| fatal::stop(&fault));
            // Nobody may wait any more.
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
) -> Result<Option<u64>, Fault> {
    let engine = store.engine();
    let view = engine.snapshot()?;
    // The apply path goes on, whether it still waits or not.
    _ = taken.send(());
    if Reader::new(&*view)?.meta().applied_index != index {
        return Ok(None);
    }
    let mut bytes = 0;
    let mut pace = |row: usize| {
        bytes += row;
        if bytes >= SLICE_BYTES {
            bytes = 0;
            thread::sleep(SLICE_PAUSE);
        }
    };
    digest_paced(&*view, &mut pace).map(Some)
}

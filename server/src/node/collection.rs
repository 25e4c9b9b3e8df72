//! Removes compacted history in the background, in small steps.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::{Collector, Fault, Revision, engine::Engine};
use tokio::sync::watch;

use crate::{fatal, storage::StateStore, tasks};

/// Size of a collection step and the pause between steps, as etcd's `--compaction-batch-limit` and
/// `--compaction-sleep-interval`.
#[derive(Clone, Copy, Debug)]
pub struct CollectionPace {
    /// Most changes visited in one step.
    pub batch_max: usize,
    /// Pause between two steps.
    pub pause: Duration,
}

/// The progress of collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Collected {
    /// History below this revision has been visited.
    pub(super) through: Revision,
    /// Bytes removed in the lifetime of the state.
    pub(super) bytes: u64,
}

/// Starts the collection task for history below `floor`; the receiver yields its progress.
pub(super) fn spawn(
    store: Arc<StateStore>,
    mut floor: watch::Receiver<Revision>,
    pace: CollectionPace,
) -> watch::Receiver<Collected> {
    let (sender, receiver) = watch::channel(Collected::default());
    tasks::spawn("collection", async move {
        // The first pass also counts what earlier processes collected.
        loop {
            floor.mark_unchanged();
            pass(&store, pace, &sender)
                .await
                .unwrap_or_else(|e| fatal::stop(&e));
            if floor.changed().await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// Runs steps until no history below the floor is left.
async fn pass(
    store: &Arc<StateStore>,
    pace: CollectionPace,
    progress: &watch::Sender<Collected>,
) -> Result<(), Fault> {
    let mut collector = Collector::new();
    let mut collected_last: Option<Arc<dyn Engine>> = None;
    loop {
        let engine: Arc<dyn Engine> = store.engine();
        let same = |last: &Arc<dyn Engine>| Arc::ptr_eq(last, &engine);
        if !collected_last.as_ref().is_some_and(same) {
            // A snapshot has replaced the state.
            collector = Collector::new();
        }
        collected_last = Some(Arc::clone(&engine));
        let step = tasks::spawn_blocking(move || {
            let step = collector.step(&*engine, pace.batch_max)?;
            let bytes = Collector::collected_bytes(&*engine)?;
            let collected = Collected {
                through: step.through,
                bytes,
            };
            Ok::<_, Fault>((step.done, collected, collector))
        });
        let cut_off = |e| Fault::Damaged(format!("collection was cut off: {e}"));
        let (done, collected);
        (done, collected, collector) = step.await.map_err(cut_off)??;
        if done {
            progress.send_replace(collected);
            return Ok(());
        }
        let bytes = collected.bytes;
        progress.send_modify(|progress| progress.bytes = bytes);
        tokio::time::sleep(pace.pause).await;
    }
}

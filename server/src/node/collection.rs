//! Takes compacted history away in the background, a little at a time.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::{Collector, Fault, Revision, engine::Engine};
use tokio::sync::watch;

use crate::{fatal, storage::StateStore, tasks};

/// How much is taken away at once, and how long the pause is in between: as etcd's
/// `--compaction-batch-limit` and `--compaction-sleep-interval`.
#[derive(Clone, Copy, Debug)]
pub struct CollectionPace {
    /// Changes gone through in one step.
    pub batch_max: usize,
    /// Pause between steps.
    pub pause: Duration,
}

/// How far collection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Collected {
    /// Everything below this revision is gone through.
    pub(super) through: Revision,
    /// Bytes taken away in the life of the state.
    pub(super) bytes: u64,
}

/// Starts collection below `floor`; the receiver tells how far it has come.
pub(super) fn spawn(
    store: Arc<StateStore>,
    mut floor: watch::Receiver<Revision>,
    pace: CollectionPace,
) -> watch::Receiver<Collected> {
    let (sender, receiver) = watch::channel(Collected::default());
    tasks::spawn("collection", async move {
        // The first pass also finds out what was collected in earlier lives.
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

/// Steps until nothing below the floor is left.
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
            // A snapshot has taken the place of the state.
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

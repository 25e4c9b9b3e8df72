//! How far a copy is behind its source: in revisions, and in seconds.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tenure::{Client, Error, KeyRange, Revision};
use tokio::{task::JoinHandle, time::sleep};

/// How often the revision of the source is read.
const PERIOD: Duration = Duration::from_secs(1);
/// Revisions that are remembered. When they are too many, every other one is forgotten, so that a
/// long lag is told less precisely.
const SAMPLES_MAX: usize = 512;

/// When the source was first seen at which revision.
type Samples = VecDeque<(Instant, Revision)>;

/// Follows the revision of the source. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Head {
    client: Client,
    key: Bytes,
    samples: Arc<Mutex<Samples>>,
    task: JoinHandle<()>,
}

/// How far a copy is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    /// The revision of the source.
    pub(crate) head: Revision,
    /// Revisions that are not copied.
    pub(crate) revisions: i64,
    /// How long the first of them has been known.
    pub(crate) time: Duration,
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        write!(f, "{} revisions behind ({seconds:.1} s)", self.revisions)
    }
}

impl Head {
    /// Begins to follow the source. `range` is one that the user may read.
    pub(crate) fn follow(client: &Client, range: &KeyRange) -> Self {
        let samples: Arc<Mutex<Samples>> = Arc::default();
        let (reader, key, shared) = (client.clone(), range.start().clone(), Arc::clone(&samples));
        let task = tokio::spawn(async move {
            loop {
                // A source that is away for a while is asked again.
                if let Ok(revision) = latest(&reader, &key).await {
                    note(&shared, revision);
                }
                sleep(PERIOD).await;
            }
        });
        Self {
            client: client.clone(),
            key: range.start().clone(),
            samples,
            task,
        }
    }

    /// The latest revision of the source, read from a quorum.
    pub(crate) async fn read(&self) -> Result<Revision, Error> {
        let revision =
            super::read_patiently(async || latest(&self.client, &self.key).await).await?;
        note(&self.samples, revision);
        Ok(revision)
    }

    /// How far a copy at `copied` is behind, by what is known of the source.
    pub(crate) fn lag(&self, copied: Revision) -> Lag {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let head = samples.back().map_or(copied, |(_, head)| *head);
        while samples.len() > 1
            && samples
                .front()
                .is_some_and(|(_, revision)| *revision <= copied)
        {
            samples.pop_front();
        }
        let waiting = samples.front().filter(|(_, revision)| *revision > copied);
        Lag {
            head,
            revisions: (head.get() - copied.get()).max(0),
            time: waiting.map_or(Duration::ZERO, |(since, _)| since.elapsed()),
        }
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads one key that need not exist: the header has the revision.
async fn latest(client: &Client, key: &Bytes) -> Result<Revision, Error> {
    let answer = client.get(KeyRange::key(key)).count_only().await?;
    Ok(answer.revision())
}

fn note(samples: &Mutex<Samples>, revision: Revision) {
    let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
    if samples.back().is_some_and(|(_, last)| *last >= revision) {
        return;
    }
    if samples.len() >= SAMPLES_MAX {
        let mut keep = false;
        samples.retain(|_| {
            keep = !keep;
            keep
        });
    }
    samples.push_back((Instant::now(), revision));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_bounded_and_the_oldest_stays() {
        let samples = Mutex::default();
        for revision in 1..=10_000 {
            note(&samples, Revision::new(revision));
            // Not later than what is known.
            note(&samples, Revision::new(revision - 1));
        }
        let samples = samples.into_inner().unwrap();
        assert!(samples.len() <= SAMPLES_MAX, "{}", samples.len());
        assert_eq!(samples.front().unwrap().1, Revision::new(1));
        assert_eq!(samples.back().unwrap().1, Revision::new(10_000));
    }
}

//! Hedging: sends a slow read to a second endpoint as well.
//!
//! Only reads of etcd's services are hedged, and the first answer is used. Hedges are paid from the
//! retry budget.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

/// Number of latencies from which the percentile is computed; the newest replaces the oldest.
const SAMPLES: usize = 256;
/// Number of answers after which the percentile is computed again, which sorts the samples.
const SAMPLES_FRESH: usize = 32;
/// The percentile of the latencies that is used as the delay.
const PERCENTILE: usize = 95;

/// When an unanswered read is sent to a second endpoint. Off unless set by
/// [`ClientBuilder::hedge`](crate::ClientBuilder::hedge).
///
/// ```no_run
/// # async fn example() -> Result<(), tenure::Error> {
/// use tenure::{Client, Hedge};
///
/// let client = Client::builder()
///     .endpoints(["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"])
///     .hedge(Hedge::AtP95)
///     .connect()
///     .await?;
/// client.get("config/mode").await?;
/// println!("{} went to a second endpoint", client.metrics().hedges_sent);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hedge {
    /// Reads are not hedged.
    #[default]
    Off,
    /// After a fixed delay.
    After(Duration),
    /// After the 95th percentile of the latencies of recent reads; not before 32 reads were
    /// answered.
    AtP95,
}

/// Measures reads and computes the delay of hedges.
#[derive(Debug)]
pub(crate) struct Hedging {
    hedge: Hedge,
    times: Mutex<Times>,
    /// In microseconds; zero until there are enough samples.
    p95: AtomicU64,
}

#[derive(Debug, Default)]
struct Times {
    micros: Vec<u64>,
    next: usize,
}

impl Hedging {
    pub(crate) fn new(hedge: Hedge) -> Self {
        Self {
            hedge,
            times: Mutex::default(),
            p95: AtomicU64::new(0),
        }
    }

    /// Delay before the read is sent to a second endpoint; `None` when reads are not hedged.
    pub(crate) fn delay(&self) -> Option<Duration> {
        match self.hedge {
            Hedge::Off => None,
            Hedge::After(delay) => Some(delay),
            Hedge::AtP95 => {
                let micros = self.p95.load(Ordering::Relaxed);
                (micros > 0).then(|| Duration::from_micros(micros))
            }
        }
    }

    /// Records the latency of a read answered by one endpoint.
    pub(crate) fn observe(&self, took: Duration) {
        if self.hedge != Hedge::AtP95 {
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let mut times = self.times.lock();
        let at = times.next % SAMPLES;
        if at < times.micros.len() {
            times.micros[at] = micros;
        } else {
            times.micros.push(micros);
        }
        times.next += 1;
        if times.next.is_multiple_of(SAMPLES_FRESH) {
            let mut sorted = times.micros.clone();
            sorted.sort_unstable();
            let p95 = sorted[(sorted.len() * PERCENTILE / 100).min(sorted.len() - 1)];
            self.p95.store(p95, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_follows_what_was_observed() {
        let hedging = Hedging::new(Hedge::AtP95);
        for millis in 1..SAMPLES_FRESH as u64 {
            hedging.observe(Duration::from_millis(millis));
        }
        assert_eq!(hedging.delay(), None, "too few answers to know");
        hedging.observe(Duration::from_millis(32));
        assert_eq!(hedging.delay(), Some(Duration::from_millis(31)));
        for _ in 0..SAMPLES {
            hedging.observe(Duration::from_millis(2));
        }
        assert_eq!(
            hedging.delay(),
            Some(Duration::from_millis(2)),
            "old ones leave"
        );
        assert_eq!(hedging.times.lock().micros.len(), SAMPLES);
    }

    #[test]
    fn a_fixed_delay_needs_no_observation() {
        assert_eq!(Hedging::new(Hedge::Off).delay(), None);
        let fixed = Duration::from_millis(7);
        assert_eq!(Hedging::new(Hedge::After(fixed)).delay(), Some(fixed));
    }
}

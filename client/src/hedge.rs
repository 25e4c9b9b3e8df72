//! Hedging: when a read that is not answered yet is sent to another endpoint as well.
//!
//! Only reads of etcd's services are hedged, and the first answer counts: any of them is as good.
//! What hedges cost is taken from the budget for repeats.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

/// Answers that the percentile is taken from; the oldest makes room for the newest.
const SAMPLES: usize = 256;
/// Answers after which the percentile is computed again: that takes sorting them.
const SAMPLES_FRESH: usize = 32;
/// The part of all answers that is faster than the delay, in hundredths.
const PERCENTILE: usize = 95;

/// When a read is sent to a second endpoint because the first has not answered. Off unless set by
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
    /// Never.
    #[default]
    Off,
    /// After this long.
    After(Duration),
    /// After as long as 95 of 100 of the last reads took. Never before 32 reads were answered.
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

    /// How long to wait for the first endpoint; nothing when reads are not hedged.
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

    /// A read was answered by one endpoint after this long.
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

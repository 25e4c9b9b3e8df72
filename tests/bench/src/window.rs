//! The measured part of a round, and the way to end it early.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// From when to when answers count.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    cut: Arc<Cut>,
}

#[derive(Debug, Default)]
struct Cut {
    made: AtomicBool,
    notify: Notify,
}

impl Window {
    /// A window that opens when the warm-up, which starts now, is over.
    pub(crate) fn after(warm_up: Duration, measured: Duration) -> Self {
        let from = Instant::now() + warm_up;
        Self {
            from,
            to: from + measured,
            cut: Arc::default(),
        }
    }

    /// Whether clients should go on at `now`.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        now < self.to && !self.cut.made.load(Ordering::Relaxed)
    }

    /// Whether an answer that came at `now` counts.
    pub(crate) fn counts(&self, now: Instant) -> bool {
        now >= self.from && self.is_open(now)
    }

    /// Ends the window now, because there is nothing left to do.
    pub(crate) fn cut(&self) {
        self.cut.made.store(true, Ordering::Relaxed);
        self.cut.notify.notify_one();
    }

    /// Waits until it opens.
    pub(crate) async fn opened(&self) {
        tokio::time::sleep_until(self.from.into()).await;
    }

    /// Waits until it ends.
    pub(crate) async fn closed(&self) {
        // Cancel-safe: a cut stays made, and the time passes anyway.
        tokio::select! {
            () = tokio::time::sleep_until(self.to.into()) => {}
            () = self.cut.notify.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_only_between_warm_up_and_end() {
        let window = Window::after(Duration::from_secs(10), Duration::from_secs(5));
        let just = Duration::from_millis(1);
        assert!(!window.counts(window.from - just));
        assert!(window.is_open(window.from - just));
        assert!(window.counts(window.from));
        assert!(!window.counts(window.to));
        window.cut();
        assert!(!window.is_open(window.from));
    }
}

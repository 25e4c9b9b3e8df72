//! Backoff of streams that are reopened after a break.
//!
//! Invariant: only a stream that lasted for a while resets the backoff, so a server that responds
//! once and breaks is not called in a tight loop.

use std::time::Duration;

use tokio::time::Instant;

use crate::retry::Backoff;

/// How long a stream must last to reset the backoff: the longest pause between attempts, so shorter
/// streams are opened at most about twice per second.
const LASTED_MIN: Duration = Duration::from_secs(1);

/// Pauses between the streams that follow each other.
#[derive(Debug, Default)]
pub(crate) struct Resume {
    backoff: Backoff,
    /// When the current stream was opened.
    opened: Option<Instant>,
}

impl Resume {
    /// Records that a stream was opened.
    pub(crate) fn opened(&mut self) {
        self.opened = Some(Instant::now());
    }

    /// The pause before the next attempt, after the stream broke or could not be opened.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let opened = self.opened.take();
        if opened.is_some_and(|opened| opened.elapsed() >= LASTED_MIN) {
            self.backoff.reset();
        }
        self.backoff.next_pause()
    }
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture;

    use super::*;
    use crate::{Client, Selector, fake::Fake};

    /// Upper bound of the first pause.
    const FIRST_MAX: Duration = Duration::from_millis(25);

    #[tokio::test(start_paused = true)]
    async fn only_a_stream_that_stood_for_a_while_makes_the_pauses_short_again() {
        let mut resume = Resume::default();
        let brief: Vec<Duration> = (0..100)
            .map(|_| {
                resume.opened();
                resume.next_pause()
            })
            .collect();
        assert!(brief[0] <= FIRST_MAX);
        // A hundred random pauses of up to a second cannot all be this short.
        assert!(brief.iter().any(|pause| *pause > FIRST_MAX), "{brief:?}");

        resume.opened();
        tokio::time::advance(LASTED_MIN).await;
        assert!(resume.next_pause() <= FIRST_MAX);
        // The reset applies to one pause only.
        let failed: Vec<Duration> = (0..100).map(|_| resume.next_pause()).collect();
        assert!(failed.iter().any(|pause| *pause > FIRST_MAX), "{failed:?}");
    }

    const STREAMS: [&str; 4] = ["acquire", "campaign", "observe", "watch_endpoints"];

    /// Holds claims and watches until it is dropped.
    async fn wait_for_everything(client: Client) {
        let election = client.elections().named("e");
        let mut leaders = election.observe().await.expect("it can be observed");
        let registry = client.registry();
        let endpoints = registry.watch_endpoints("s", Selector::default());
        let mut endpoints = endpoints.await.expect("they can be watched");
        let leaders = async { while leaders.next().await.is_some() {} };
        let endpoints = async { while endpoints.next().await.is_some() {} };
        let waits = (
            client.locks().acquire("a").into_future(),
            election.campaign("me").into_future(),
        );
        // None of them ends.
        _ = tokio::join!(waits.0, waits.1, leaders, endpoints);
    }

    /// A partitioned server never sends anything, unless the call requires a leader.
    #[tokio::test]
    async fn streams_whose_silence_means_something_require_a_leader() {
        let (fake, client) = Fake::start().await;
        let _lock = client.locks().acquire("a").await.expect("it is free");
        let _leadership = client.elections().named("e").campaign("first").await;
        let waiting = tokio::spawn(wait_for_everything(client));
        // The keys of held claims are watched as well.
        let led = ["watch"].into_iter().chain(STREAMS);
        let led: std::collections::BTreeSet<_> = led.collect();
        fake.until(|store| store.require_leader() == led).await;
        waiting.abort();
    }

    #[tokio::test]
    async fn a_stream_that_says_one_word_and_breaks_is_not_opened_over_and_over() {
        const TIMES: u32 = 10;
        let (fake, client) = Fake::start().await;
        let _lock = client.locks().acquire("a").await.expect("it is free");
        let _leadership = client.elections().named("e").campaign("first").await;
        fake.mode(|modes| modes.brief = true);
        let started = Instant::now();
        let waiting = tokio::spawn(wait_for_everything(client));
        fake.until(|store| STREAMS.iter().any(|call| store.calls(call) >= TIMES))
            .await;
        // The longest time for this many pauses if all were first ones.
        assert!(
            started.elapsed() > FIRST_MAX * TIMES,
            "{:?}",
            started.elapsed()
        );
        waiting.abort();
    }
}

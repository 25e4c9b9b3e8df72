//! The retry budget: how many requests may be repeated, as a share of the calls made, so that
//! clients do not multiply the load of a cluster in trouble.
//!
//! Invariant: over any time, at most the share of all calls and the allowance per second are
//! repeated, plus what was saved before, which is bounded. Attempts that never reached a server
//! are not counted; they put no load on one.

use parking_lot::Mutex;
use tokio::time::Instant;

/// Repeats per hundred calls.
pub(crate) const SHARE_PERCENT: u32 = 10;
/// Repeats per second that are allowed in any case, so that a client with few calls can retry
/// through a transient failure.
pub(crate) const PER_SECOND_MIN: u32 = 10;
/// Most repeats that can be saved up. At failover every call under way fails at once; this many may
/// be repeated at once, which a server can handle.
const SAVED_MAX: u64 = 100;
/// Units per repeat, so that fractions of a repeat are whole numbers.
const REPEAT: u64 = 100_000;
/// Units per hundredth of a repeat.
const PERCENT: u64 = REPEAT / 100;

/// A retry budget. Shared by all clones of a client.
#[derive(Debug)]
pub(crate) struct Budget {
    share_percent: u32,
    per_second: u32,
    balance: Mutex<Balance>,
}

#[derive(Debug)]
struct Balance {
    /// Units earned by calls, up to a bound.
    saved: u64,
    /// Units left of the allowance per second.
    allowance: u64,
    /// When the allowance was last refilled.
    filled: Instant,
}

impl Budget {
    pub(crate) fn new(share_percent: u32, per_second: u32) -> Self {
        Self {
            share_percent,
            per_second,
            balance: Mutex::new(Balance {
                saved: 0,
                allowance: u64::from(per_second) * REPEAT,
                filled: Instant::now(),
            }),
        }
    }

    /// Credits the share of one call.
    pub(crate) fn deposit(&self) {
        let mut balance = self.balance.lock();
        let earned = u64::from(self.share_percent) * PERCENT;
        balance.saved = (balance.saved + earned).min(SAVED_MAX * REPEAT);
    }

    /// Pays for one repeat. Returns whether the balance sufficed.
    pub(crate) fn withdraw(&self) -> bool {
        let mut balance = self.balance.lock();
        balance.refill(self.per_second);
        let from = if balance.saved >= REPEAT {
            &mut balance.saved
        } else {
            &mut balance.allowance
        };
        let left = from.checked_sub(REPEAT);
        *from = left.unwrap_or(*from);
        left.is_some()
    }
}

impl Balance {
    fn refill(&mut self, per_second: u32) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.filled).as_micros();
        self.filled = now;
        let full = u64::from(per_second) * REPEAT;
        let gained = passed.saturating_mul(u128::from(full)) / 1_000_000;
        let gained = u64::try_from(gained).unwrap_or(u64::MAX);
        self.allowance = self.allowance.saturating_add(gained).min(full);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spend(budget: &Budget) -> u32 {
        (0..)
            .take_while(|_| budget.withdraw())
            .fold(0, |n, _| n + 1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_with_few_calls_may_repeat_some_per_second() {
        let budget = Budget::new(SHARE_PERCENT, PER_SECOND_MIN);
        assert_eq!(spend(&budget), PER_SECOND_MIN);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(spend(&budget), PER_SECOND_MIN / 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(
            spend(&budget),
            PER_SECOND_MIN,
            "the allowance is not saved up"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn calls_earn_their_share_up_to_a_bound() {
        let budget = Budget::new(SHARE_PERCENT, 0);
        assert_eq!(spend(&budget), 0);
        (0..70).for_each(|_| budget.deposit());
        assert_eq!(spend(&budget), 7);
        (0..1_000_000).for_each(|_| budget.deposit());
        assert_eq!(u64::from(spend(&budget)), SAVED_MAX);
    }
}

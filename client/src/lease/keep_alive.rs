//! Renews one lease until its handle is dropped or the lease is lost.
//!
//! The invariant: a loss is reported before the lease can end at the server. Deadlines count from
//! the moment the last acknowledged renewal was *sent*, which is never later than the moment the
//! server counts from, and stop short of the time to live by a margin for clocks that run at
//! different speeds.
//!
//! Time is that of `std::time::Instant`, which on Linux stops while the machine is suspended and
//! may stop while a virtual machine is: after such a pause a lease counts as held for the time that
//! was left before. Only a guard protects against that (see [`Guard`](crate::Guard)).

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::renewal::{Renewer, Term};
use crate::{client::Client, error::Error, id::LeaseId, response::Lease};

/// Why a lease is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseLoss {
    /// The server answered that the lease does not exist.
    #[error("the lease expired or was revoked")]
    Ended,
    /// No renewal was acknowledged in time. The lease may still exist at the server, but may end at
    /// any moment.
    #[error("no renewal of the lease was acknowledged in time")]
    Unconfirmed,
    /// This client revoked it or closed its session.
    #[error("the lease was released by this client")]
    Closed,
}

/// State shared by the renewing task and the handle.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) term: Term,
    /// The answer to the last renewal; nothing before the first one.
    pub(super) answer: Option<Lease>,
    pub(super) loss: Option<LeaseLoss>,
}

impl State {
    /// Records the loss unless one is recorded. Returns whether it was recorded.
    pub(super) fn end(&mut self, loss: LeaseLoss) -> bool {
        let news = self.loss.is_none();
        self.loss = self.loss.or(Some(loss));
        news
    }

    /// Records a renewal, unless the lease was lost or its deadline passed before: a loss that was
    /// reported or observed must stay final. Returns whether it was in time.
    pub(super) fn renew(&mut self, term: Term, answer: Lease) -> bool {
        let in_time = self.loss.is_none() && Instant::now() < self.term.deadline();
        if in_time {
            self.term = term;
            self.answer = Some(answer);
        }
        in_time
    }
}

/// A lease that is being renewed. Dropping the handle stops the renewals; the lease then ends by
/// itself, or at once by [`Leases::revoke`](crate::Leases::revoke).
///
/// ```no_run
/// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
/// use std::time::Duration;
///
/// let lease = client.leases().grant(Duration::from_secs(10)).await?;
/// let alive = client.leases().keep_alive(lease.id()).await?;
/// tokio::select! {
///     loss = alive.lost() => println!("stop at once: {loss}"),
///     () = async { /* what needs the lease */ } => {}
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a keep-alive stops its renewals, and the lease ends"]
pub struct KeepAlive {
    id: LeaseId,
    shared: Arc<watch::Sender<State>>,
    seen: watch::Receiver<State>,
    task: AbortHandle,
}

impl KeepAlive {
    /// Renews once, to learn the TTL, and starts the renewing task.
    pub(super) async fn start(client: Client, id: LeaseId) -> Result<Self, Error> {
        let sent = Instant::now();
        let answer = client.leases().keep_alive_once(id).await?;
        let ttl = answer.ttl();
        Ok(Self::begin(client, id, Term { sent, ttl }, Some(answer)))
    }

    /// Renews a lease that was granted with `term`, whose TTL may have fractions of seconds:
    /// renewals return whole seconds, rounded up.
    pub(crate) fn adopt(client: Client, id: LeaseId, term: Term) -> Self {
        Self::begin(client, id, term, None)
    }

    fn begin(client: Client, id: LeaseId, term: Term, answer: Option<Lease>) -> Self {
        let (sender, seen) = watch::channel(State {
            term,
            answer,
            loss: None,
        });
        let shared = Arc::new(sender);
        let renewer = Renewer::new(client.bare(), id, Arc::clone(&shared));
        let task = tokio::spawn(renewer.run()).abort_handle();
        Self {
            id,
            shared,
            seen,
            task,
        }
    }

    /// The id of the lease.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// The answer to the last renewal; nothing before the first one.
    #[must_use]
    pub fn last_renewal(&self) -> Option<Lease> {
        self.seen.borrow().answer
    }

    /// The TTL that the lease has from each renewal.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.seen.borrow().term.ttl
    }

    /// The time until which the lease is certainly held: the TTL, counted from the sending of the
    /// last acknowledged renewal, less a hundredth and five milliseconds for clock drift.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.seen.borrow().term.deadline()
    }

    /// Whether the lease is certainly held at this moment. Once false, it stays false.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.loss().is_none()
    }

    /// Why the lease is lost, if it is. Also checks the clock: a runtime that was stalled past the
    /// deadline has lost the lease, before the renewing task records it.
    fn loss(&self) -> Option<LeaseLoss> {
        let state = *self.seen.borrow();
        if state.loss.is_none() && Instant::now() >= state.term.deadline() {
            self.end(LeaseLoss::Unconfirmed);
            return self.seen.borrow().loss;
        }
        state.loss
    }

    /// Records the loss of the lease, which is final.
    pub(crate) fn end(&self, loss: LeaseLoss) {
        self.shared.send_if_modified(|state| state.end(loss));
    }

    /// Waits until the lease is lost, at the latest at its [`deadline`](Self::deadline) unless
    /// renewals extend it. Several tasks may wait.
    ///
    /// # Cancel safety
    /// Cancel safe: a loss is final and is reported to every later call.
    pub async fn lost(&self) -> LeaseLoss {
        let mut state = self.seen.clone();
        loop {
            let deadline = state.borrow_and_update().term.deadline();
            if let Some(loss) = self.loss() {
                return loss;
            }
            // Does not rely on the renewing task, which may be stalled or gone.
            tokio::select! {
                // Cancel safe: the state is read again at the top of the loop.
                changed = state.changed() => {
                    changed.expect("this handle holds a sender");
                }
                // Cancel safe: a point in time.
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Waits for the next renewal; returns `None` when the lease is lost. Returns only the latest
    /// of the renewals since the last call.
    ///
    /// # Cancel safety
    /// Cancel safe: a renewal that is not returned is returned by the next call.
    pub async fn renewed(&mut self) -> Option<Lease> {
        loop {
            if self.loss().is_some() {
                return None;
            }
            let deadline = self.deadline();
            tokio::select! {
                // Cancel safe: an unseen change stays unseen.
                changed = self.seen.changed() => {
                    changed.expect("this handle holds a sender");
                    let state = *self.seen.borrow_and_update();
                    return state.answer.filter(|_| state.loss.is_none());
                }
                // Cancel safe: a point in time.
                () = sleep_until(deadline) => {}
            }
        }
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use tenure_proto::etcdserverpb::LeaseKeepAliveResponse;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    /// A lease whose renewing task does not run, as on a stalled runtime.
    async fn stalled() -> KeepAlive {
        // Nothing is ever sent there.
        let client = Client::connect(["127.0.0.1:1"]).await.unwrap();
        let term = Term {
            sent: Instant::now(),
            ttl: TTL,
        };
        let alive = KeepAlive::adopt(client, LeaseId::new(1), term);
        alive.task.abort();
        alive
    }

    fn renewal(sent: Instant) -> (Term, Lease) {
        let answer = Lease::renewed(LeaseKeepAliveResponse::default());
        (Term { sent, ttl: TTL }, answer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_reported_at_the_deadline_without_the_renewing_task() {
        let alive = stalled().await;
        let deadline = alive.deadline();
        assert!(deadline < Instant::now() + TTL);
        assert_eq!(alive.lost().await, LeaseLoss::Unconfirmed);
        let late = Instant::now() - deadline;
        assert!(late <= Duration::from_millis(1), "{late:?} late");
        assert_eq!(alive.lost().await, LeaseLoss::Unconfirmed);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_counts_even_if_nothing_has_run_since() {
        let alive = stalled().await;
        assert!(alive.is_held());
        tokio::time::advance(TTL).await;
        assert!(!alive.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_after_the_deadline_does_not_bring_the_lease_back() {
        let alive = stalled().await;
        tokio::time::advance(TTL / 2).await;
        let (term, answer) = renewal(Instant::now());
        tokio::time::advance(TTL / 2).await;
        // The deadline passed unobserved; the renewal was sent before it.
        let mut in_time = true;
        alive
            .shared
            .send_modify(|state| in_time = state.renew(term, answer));
        assert!(!in_time && !alive.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_loss_follows_renewals() {
        let alive = stalled().await;
        let first = alive.deadline();
        tokio::time::advance(TTL / 2).await;
        let (term, answer) = renewal(Instant::now());
        let shared = Arc::clone(&alive.shared);
        let waiting = tokio::spawn(async move { alive.lost().await });
        tokio::task::yield_now().await;
        shared.send_modify(|state| assert!(state.renew(term, answer)));
        assert_eq!(waiting.await.unwrap(), LeaseLoss::Unconfirmed);
        assert!(Instant::now() >= first + TTL / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_reason_for_a_loss_is_the_one_that_stays() {
        let mut alive = stalled().await;
        alive.end(LeaseLoss::Ended);
        alive.end(LeaseLoss::Closed);
        tokio::time::advance(TTL * 2).await;
        assert_eq!(alive.lost().await, LeaseLoss::Ended);
        assert_eq!(alive.renewed().await, None);
    }
}

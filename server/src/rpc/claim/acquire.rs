//! Acquisitions: propose claims, then wait for the grant. All acquire and campaign calls use this.
//!
//! Invariants: a waiter subscribes before its claim is proposed, so that no grant is missed; a
//! claim whose caller is gone is withdrawn, unless it carries a request id, with which the caller
//! can resume; a claim whose caller may not have it any more is withdrawn, granted or not.

use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use tenure_statemachine::{
    Acquire, AcquireReply, ClaimState, Command, EndCause, Fault, LeaseId, Mode, Need, Reader,
    Refusal, Revision, Signal, Ttl, Wait, needs_of,
};
use tokio::{
    sync::oneshot,
    time::{Duration, Instant, sleep_until},
};

use super::withdraw::WithdrawOnDrop;
use crate::{
    events::{News, Waiter},
    node::{ProposeError, reply_to},
    rpc::{
        admission::{Allowed, StreamCaller},
        answer::{failure::Failure, refusal::quoted, status::Reason},
        border::{conditions::Conditions, request},
        call::Call,
        services::Services,
    },
    tasks,
};

/// The outcome of a proposed acquisition.
#[derive(Debug)]
pub(in crate::rpc) enum AcquireOutcome {
    /// Every claim holds.
    Granted(Granted),
    /// The claims wait.
    Waiting(Box<Waiting>),
    /// Not granted, and the request must not wait; with the claim that blocks it, if one does.
    Blocked(Revision, Option<Box<ClaimState>>),
}

/// Claims that hold.
#[derive(Debug)]
pub(in crate::rpc) struct Granted {
    /// By name.
    pub(in crate::rpc) claims: Vec<ClaimState>,
    pub(in crate::rpc) lease: LeaseId,
    pub(in crate::rpc) ttl: Ttl,
    /// Time left of the lease.
    pub(in crate::rpc) remaining: Ttl,
    /// The revision that this was read at.
    pub(in crate::rpc) revision: Revision,
    withdraw: Option<WithdrawOnDrop>,
}

impl Granted {
    /// Whether the claims are withdrawn unless the grant is delivered to the caller.
    pub(in crate::rpc) const fn is_withdrawn_unless_delivered(&self) -> bool {
        self.withdraw.is_some()
    }

    /// Keeps the claims: the caller has the grant.
    pub(in crate::rpc) fn delivered(mut self) {
        if let Some(withdraw) = self.withdraw.take() {
            withdraw.disarm();
        }
    }
}

/// Claims that wait. Dropping it withdraws them, unless they carry a request id.
#[derive(Debug)]
pub(in crate::rpc) struct Waiting {
    services: Arc<Services>,
    caller: StreamCaller,
    /// What the caller must be allowed to do for as long as it waits.
    needs: Vec<Need>,
    waiter: Waiter,
    /// By name.
    pub(in crate::rpc) claims: Vec<ClaimState>,
    pub(in crate::rpc) lease: LeaseId,
    pub(in crate::rpc) ttl: Ttl,
    /// The claim that blocked them when they were proposed.
    pub(in crate::rpc) blocker: Option<ClaimState>,
    /// The revision at which they began to wait.
    pub(in crate::rpc) revision: Revision,
    wait: Wait,
    /// When to give up without a signal that the wait is over.
    give_up: Option<Instant>,
    /// Whether the values of the claims were dropped, to be read again once they are granted.
    is_lean: bool,
    withdraw: Option<WithdrawOnDrop>,
}

/// An exclusive claim on one name, under a lease that exists or is granted with a TTL. It waits for
/// as long as it takes.
pub(in crate::rpc) fn exclusive(
    name: Bytes,
    (lease, grant): (LeaseId, Option<Ttl>),
    value: Bytes,
) -> Acquire {
    Acquire {
        names: vec![name],
        mode: Mode::Exclusive,
        lease,
        grant,
        wait: Wait::Always,
        lock_delay: Ttl(0),
        principal: String::new(),
        value,
        rejoin: false,
        call: 0,
    }
}

/// Proposes claims. The caller has checked the size and the fields of the request.
///
/// # Errors
/// When the claims are refused, or cannot be proposed.
///
/// # Cancel safety
/// Dropping the future withdraws the claims, unless the conditions carry a request id.
pub(in crate::rpc) async fn begin(
    services: &Arc<Services>,
    call: &Call,
    conditions: Conditions,
    mut acquire: Acquire,
) -> Result<AcquireOutcome, Failure> {
    if acquire.grant.is_some() {
        // The subscription and the proposal must name the same lease.
        acquire.lease = conditions.new_lease();
    }
    let cost = cost(&acquire);
    // From here on no change of users and permissions is missed.
    let caller = services.stream_caller(call);
    let command = Command::from(acquire.clone());
    // Before anything of the state is told; once more with the claim's final form.
    services.allow(call, &command).await?;
    let needs = needs_of(&command);
    services
        .check_quota_unless(conditions.is_repeatable(), cost)
        .await?;
    let (names, asked) = (acquire.names.clone(), acquire.lease);
    let mut waiter = services.claims.wait_for(&names, asked);
    let wait = acquire.wait;
    let repeatable = conditions.is_repeatable();
    // After the subscription, which covers all later revisions.
    let before = services.revision()?;
    wait_for_withdrawal(services, call, &acquire.names, acquire.lease).await?;
    services.foreign_keys.warn(services, &acquire.names)?;
    let (revision, reply, withdraw) = if repeatable {
        let allowed = services.allow(call, &conditions.on(acquire.into())).await?;
        let proposed = services.propose::<Acquire>(allowed);
        let (revision, reply) = call.write(proposed).await?;
        (revision, reply, None)
    } else {
        acquire.call = rand::rng().random_range(1..=u64::MAX);
        propose_after_withdrawals(services, call, conditions, acquire).await?
    };
    let AcquireReply {
        lease,
        ttl,
        claims,
        blocker,
    } = reply;
    if claims.is_empty() {
        return Ok(AcquireOutcome::Blocked(revision, blocker.map(Box::new)));
    }
    if lease != asked {
        // The remembered outcome of a request whose lease had another id: see `Conditions`.
        waiter = services.claims.wait_for(&names, lease);
    }
    let mut waiting = Waiting {
        services: Arc::clone(services),
        caller,
        needs,
        waiter,
        claims,
        lease,
        ttl,
        blocker,
        revision,
        wait,
        give_up: give_up(services, wait),
        is_lean: false,
        withdraw,
    };
    if repeatable && waiting.claims.iter().any(|claim| claim.token <= before) {
        // The remembered outcome of an earlier request, which the state has left behind.
        waiting.reload()?;
        waiting.reload_positions().await;
    }
    if waiting.holds() {
        Ok(AcquireOutcome::Granted(waiting.into_granted()?))
    } else {
        Ok(AcquireOutcome::Waiting(Box::new(waiting)))
    }
}

/// Waits until the withdrawals of the caller's earlier claims are applied.
async fn wait_for_withdrawal(
    services: &Services,
    call: &Call,
    names: &[Bytes],
    lease: LeaseId,
) -> Result<(), Failure> {
    if !services.claims.is_withdrawn(names, lease) {
        return Ok(());
    }
    let withdrawn = async {
        services.claims.withdrawn(names, lease).await;
        Ok::<(), Failure>(())
    };
    call.read(withdrawn).await
}

/// Proposes, and repeats that when an earlier claim of the same lease blocks it that is being
/// withdrawn: its withdrawal may have begun after this proposal.
async fn propose_after_withdrawals(
    services: &Arc<Services>,
    call: &Call,
    conditions: Conditions,
    acquire: Acquire,
) -> Result<(Revision, AcquireReply, Option<WithdrawOnDrop>), Failure> {
    let (names, lease) = (acquire.names.clone(), acquire.lease);
    let withdraw = || WithdrawOnDrop::new(Arc::clone(services), &acquire);
    let command = conditions.on(acquire.clone().into());
    loop {
        let allowed = services.allow(call, &command).await?;
        let proposed = propose(services, allowed, withdraw());
        let (revision, reply, withdraw) = call.write(proposed).await?;
        let refusal = match reply {
            Ok(reply) => return Ok((revision, reply, withdraw)),
            Err(refusal) => refusal,
        };
        let is_being_withdrawn = matches!(refusal, Refusal::AlreadyClaimed(_))
            && services.claims.is_withdrawn(&names, lease);
        if !is_being_withdrawn {
            return Err(refusal.into());
        }
        wait_for_withdrawal(services, call, &names, lease).await?;
    }
}

/// The outcome of a proposal, and the guard that withdraws its claims.
type Proposed = (
    Revision,
    Result<AcquireReply, Refusal>,
    Option<WithdrawOnDrop>,
);

/// Proposes in a task of its own, so that a cancelled call leaves no claim behind: the withdrawal
/// is proposed after the outcome of the claim is known, and only if there may be a claim.
async fn propose(
    services: &Services,
    allowed: Allowed,
    withdraw: WithdrawOnDrop,
) -> Result<Proposed, ProposeError> {
    let replica = Arc::clone(&services.replica);
    let (sender, proposed) = oneshot::channel();
    tasks::spawn("acquire", async move {
        let outcome = replica.propose(allowed.into_command()).await;
        let proposed = outcome.map(reply_to::<Acquire>);
        let may_claim = match &proposed {
            Ok((_, Ok(reply))) => !reply.claims.is_empty(),
            Ok((_, Err(_))) => false,
            Err(error) => Reason::from(*error).outcome_unknown(),
        };
        let withdraw = if may_claim {
            Some(withdraw)
        } else {
            withdraw.disarm();
            None
        };
        // When the caller is gone the message is dropped, and its guard withdraws the claims.
        _ = sender.send(proposed.map(|(revision, reply)| (revision, reply, withdraw)));
    });
    // The sender is dropped without a message only when the runtime ends.
    proposed.await.unwrap_or(Err(ProposeError::TimedOut))
}

impl Waiting {
    /// Waits until every claim holds.
    ///
    /// # Errors
    /// When a claim ends before.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the claims, unless they carry a request id.
    pub(in crate::rpc) async fn granted(mut self) -> Result<Granted, Failure> {
        self.drop_values();
        while !self.holds() {
            let give_up = self.give_up;
            let news = tokio::select! {
                // Cancel-safe as documented there.
                news = self.waiter.next() => news,
                // Cancel-safe as documented there.
                () = self.caller.changed() => {
                    self.recheck()?;
                    continue;
                }
                // Cancel-safe: the deadline stays.
                () = deadline(give_up) => {
                    self.confirm().await?;
                    if self.holds() {
                        break;
                    }
                    return Err(Reason::WaitOver.into());
                }
            };
            match news {
                News::Signal(signal) => self.apply_signal(signal)?,
                News::Lost => {
                    self.reload()?;
                    self.drop_values();
                }
            }
        }
        self.into_granted()
    }

    /// Ends the wait of a caller who may not have the claims any more, if users or permissions
    /// changed.
    fn recheck(&mut self) -> Result<(), Failure> {
        if !self.caller.has_changed() {
            return Ok(());
        }
        let check = |reader: &Reader<'_>| self.caller.check(reader, &self.needs);
        let checked = self.services.latest(check);
        checked.inspect_err(|_| self.withdraw_always())
    }

    /// Withdraws the claims when this is dropped, although they carry a request id: the caller may
    /// not resume.
    fn withdraw_always(&mut self) {
        if self.withdraw.is_none() {
            let names = self.claims.iter().map(|claim| claim.name.clone());
            let services = Arc::clone(&self.services);
            let withdraw = WithdrawOnDrop::of_any_call(services, names.collect(), self.lease);
            self.withdraw = Some(withdraw);
        }
    }

    /// Drops the values, which are in the state too: thousands of claims may wait for long, each
    /// with a value of its own and that of its blocker.
    fn drop_values(&mut self) {
        if self.holds() {
            return;
        }
        self.is_lean = true;
        self.blocker = None;
        for claim in &mut self.claims {
            claim.value = Bytes::new();
        }
    }

    /// Reloads the claims after a read barrier: this node may lag. For a request with an id a
    /// failed barrier is an unknown outcome, because its claims stay.
    async fn confirm(&mut self) -> Result<(), Failure> {
        match self.services.replica.read_barrier().await {
            Ok(()) => self.reload(),
            Err(_) if self.withdraw.is_none() => Err(Reason::WriteTimedOut.into()),
            Err(_) => Err(Reason::WaitOver.into()),
        }
    }

    /// The greatest position of the claims in their queues.
    pub(in crate::rpc) fn position(&self) -> u32 {
        let positions = self.claims.iter().map(|claim| claim.position);
        positions.max().unwrap_or(0)
    }

    fn holds(&self) -> bool {
        self.claims.iter().all(|claim| claim.held)
    }

    /// Updates the claim that a signal names. Signals of an earlier claim with the same key may
    /// still arrive; their tokens differ.
    fn apply_signal(&mut self, signal: Signal) -> Result<(), Failure> {
        match signal {
            Signal::Granted(now) => {
                if let Some(claim) = self.own(&now).filter(|claim| claim.token <= now.token) {
                    *claim = now;
                }
            }
            Signal::Requeued(now, before) => {
                if let Some(claim) = self.own(&now).filter(|claim| claim.token == before) {
                    *claim = now;
                }
            }
            Signal::Ended(now, cause) => {
                if self.own(&now).is_some_and(|claim| claim.token == now.token) {
                    return Err(self.ended(&now, cause));
                }
            }
            // A signal that the claim ended follows.
            Signal::Forced(_) => {}
        }
        Ok(())
    }

    fn own(&mut self, now: &ClaimState) -> Option<&mut ClaimState> {
        self.claims.iter_mut().find(|claim| claim.key == now.key)
    }

    fn ended(&mut self, claim: &ClaimState, cause: EndCause) -> Failure {
        if let Some(withdraw) = self.withdraw.take() {
            withdraw.drop_after_end();
        }
        let lock = || format!("lock {}", quoted(&claim.name));
        match cause {
            EndCause::LeaseEnded => Reason::LeaseEnded.with(lock()),
            EndCause::WaitOver => Reason::WaitOver.with(lock()),
            EndCause::Released => Reason::ClaimEnded.with(lock() + " was withdrawn from"),
            EndCause::Forced => Reason::ClaimEnded.with(lock() + ", by force"),
        }
    }

    /// Reads the claims from the state. Reads a few rows and not their queues, so that all waiters
    /// of a name can do so at once without being refused.
    fn reload(&mut self) -> Result<(), Failure> {
        let lease = self.lease;
        let (revision, now, found, lives) = self.services.latest(|reader| {
            let names = self.claims.iter().map(|claim| &claim.name);
            let claims = names.map(|name| reader.claim_without_position(name, lease));
            let claims = claims.collect::<Result<Vec<_>, _>>()?;
            let lives = reader.lease(lease)?.is_some();
            Ok((reader.meta().revision, reader.meta().now, claims, lives))
        })?;
        self.revision = revision;
        let mut gone = None;
        for (claim, found) in self.claims.iter_mut().zip(found) {
            match found {
                Some(found) => {
                    let position = if found.held { 0 } else { claim.position };
                    *claim = ClaimState { position, ..found };
                }
                None => gone = Some(claim.clone()),
            }
        }
        let Some(gone) = gone else {
            return Ok(());
        };
        let cause = match self.wait {
            _ if !lives => EndCause::LeaseEnded,
            Wait::Within(wait) if !gone.held && gone.since.after(wait) <= now => EndCause::WaitOver,
            Wait::Within(_) | Wait::Never | Wait::Always => EndCause::Released,
        };
        Err(self.ended(&gone, cause))
    }

    /// Reads the positions of the claims in their queues. The claims keep their positions when too
    /// many large reads are in progress.
    async fn reload_positions(&mut self) {
        let lease = self.lease;
        let names: Vec<_> = self.claims.iter().map(|claim| claim.name.clone()).collect();
        let read = self.services.latest_bulk(move |reader| {
            let claims = names.iter().map(|name| reader.claim_of(name, lease));
            Ok(claims.collect::<Result<Vec<_>, _>>()?)
        });
        for (claim, found) in self.claims.iter_mut().zip(read.await.unwrap_or_default()) {
            let found = found.filter(|found| found.token == claim.token && !claim.held);
            claim.position = found.map_or(claim.position, |found| found.position);
        }
    }

    /// The grant may have come after the permission was taken, and before this knew of either.
    fn into_granted(mut self) -> Result<Granted, Failure> {
        let (lease, is_lean) = (self.lease, self.is_lean);
        let mut claims = std::mem::take(&mut self.claims);
        let found = self.services.latest(|reader| {
            self.caller.check(reader, &self.needs)?;
            if is_lean {
                read_values(reader, &mut claims)?;
            }
            Ok((reader.meta().revision, reader.lease(lease)?))
        });
        let (revision, found) = match found {
            Ok(found) => found,
            Err(failure) => {
                self.claims = claims;
                self.withdraw_always();
                return Err(failure);
            }
        };
        let remaining = found.map_or(Ttl(0), |found| self.services.remaining(&found));
        Ok(Granted {
            claims,
            lease,
            ttl: self.ttl,
            remaining,
            revision,
            withdraw: self.withdraw,
        })
    }
}

/// Reads the values of claims that hold. A claim that has ended meanwhile keeps an empty value.
fn read_values(reader: &Reader<'_>, claims: &mut [ClaimState]) -> Result<(), Fault> {
    for claim in claims {
        let found = reader.claim(&claim.name, claim.token)?;
        if let Some(found) = found.filter(|found| found.key == claim.key) {
            claim.value = found.value;
        }
    }
    Ok(())
}

/// When a bounded wait is given up without a signal: a request timeout after its end, for a node
/// that lags behind the leader.
fn give_up(services: &Services, wait: Wait) -> Option<Instant> {
    let Wait::Within(wait) = wait else {
        return None;
    };
    let timeout = Duration::from_millis(wait.0).checked_add(services.limits.request_timeout)?;
    Instant::now().checked_add(timeout)
}

async fn deadline(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The bytes that claims are charged against the quota.
fn cost(acquire: &Acquire) -> u64 {
    let lease = acquire.grant.map_or(0, |_| request::LEASE_COST_BYTES);
    let keys = acquire.names.iter().map(|name| {
        let fields = name.len() + acquire.value.len() + acquire.principal.len();
        request::PUT_OVERHEAD_BYTES + fields as u64
    });
    lease + keys.sum::<u64>()
}

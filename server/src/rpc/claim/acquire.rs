//! Claiming: propose, then wait to be told. What every way to ask for a lock or an election shares.
//!
//! Invariants: who waits has subscribed before its claim was proposed, so no grant is missed; a
//! claim whose caller is gone is withdrawn, unless it carries a request id to come back by.

use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use tenure_statemachine::{
    Acquire, AcquireReply, ClaimState, Command, EndCause, Fault, LeaseId, Reader, Refusal,
    Revision, Signal, Ttl, Wait,
};
use tokio::{
    sync::oneshot,
    time::{Duration, Instant, sleep_until},
};

use super::withdraw::Withdraw;
use crate::{
    events::{News, Waiter},
    node::{ProposeError, reply_to},
    rpc::{
        answer::{failure::Failure, refusal::quoted, status::Reason},
        border::{conditions::Conditions, request},
        call::Call,
        services::Services,
    },
    tasks,
};

/// What came of asking.
#[derive(Debug)]
pub(in crate::rpc) enum Begun {
    /// Every claim holds.
    Granted(Granted),
    /// The claims wait.
    Waiting(Box<Waiting>),
    /// Not to be had now, and not to be waited for; this claim stands in the way, if one does.
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
    /// Of the state that this was read from.
    pub(in crate::rpc) revision: Revision,
    withdraw: Option<Withdraw>,
}

impl Granted {
    /// Whether they are given back unless the caller is known to be told.
    pub(in crate::rpc) const fn is_withdrawn_unless_told(&self) -> bool {
        self.withdraw.is_some()
    }

    /// The caller knows.
    pub(in crate::rpc) fn told(mut self) {
        if let Some(withdraw) = self.withdraw.take() {
            withdraw.forgo();
        }
    }
}

/// Claims that wait. Dropping it withdraws them, unless they carry a request id.
#[derive(Debug)]
pub(in crate::rpc) struct Waiting {
    services: Arc<Services>,
    waiter: Waiter,
    /// By name.
    pub(in crate::rpc) claims: Vec<ClaimState>,
    pub(in crate::rpc) lease: LeaseId,
    pub(in crate::rpc) ttl: Ttl,
    /// What stood in the way.
    pub(in crate::rpc) blocker: Option<ClaimState>,
    /// Of the state that they began to wait in.
    pub(in crate::rpc) revision: Revision,
    wait: Wait,
    /// When to give up although nobody said that the wait is over.
    give_up: Option<Instant>,
    /// Whether the values of the claims were let go, to be read again.
    is_lean: bool,
    withdraw: Option<Withdraw>,
}

/// Asks for claims. The caller answers for the request's size and for what is in it.
///
/// # Cancel safety
/// Dropping the future withdraws what is claimed, unless the conditions carry a request id.
pub(in crate::rpc) async fn begin(
    services: &Arc<Services>,
    call: &Call,
    conditions: Conditions,
    mut acquire: Acquire,
) -> Result<Begun, Failure> {
    if acquire.grant.is_some() {
        // What is waited for must be what is proposed.
        acquire.lease = conditions.new_lease();
    }
    let cost = cost(&acquire);
    services.check_quota_of(&conditions, cost).await?;
    let waiter = services.claims.wait_for(&acquire.names, acquire.lease);
    let wait = acquire.wait;
    let repeatable = conditions.is_repeatable();
    // After the subscription: of what comes later everything is told.
    let before = services.latest(|reader| Ok(reader.meta().revision))?;
    withdrawn(services, call, &acquire.names, acquire.lease).await?;
    services.foreign_keys.warn(services, &acquire.names)?;
    let (revision, reply, withdraw) = if repeatable {
        let command = conditions.on(acquire.into());
        let proposed = services.propose::<Acquire>(command);
        let (revision, reply) = call.write(proposed).await?;
        (revision, reply, None)
    } else {
        acquire.call = rand::rng().random_range(1..=u64::MAX);
        propose_until_free(services, call, conditions, acquire).await?
    };
    let AcquireReply {
        lease,
        ttl,
        claims,
        blocker,
    } = reply;
    if claims.is_empty() {
        return Ok(Begun::Blocked(revision, blocker.map(Box::new)));
    }
    let mut waiting = Waiting {
        services: Arc::clone(services),
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
        // This is what it came to long ago.
        waiting.look()?;
        waiting.find_positions().await;
    }
    if waiting.holds() {
        Ok(Begun::Granted(waiting.into_granted()?))
    } else {
        Ok(Begun::Waiting(Box::new(waiting)))
    }
}

/// Waits until what the caller gave up a moment ago is gone.
async fn withdrawn(
    services: &Services,
    call: &Call,
    names: &[Bytes],
    lease: LeaseId,
) -> Result<(), Failure> {
    if !services.claims.is_withdrawn(names, lease) {
        return Ok(());
    }
    let gone = async {
        services.claims.withdrawn(names, lease).await;
        Ok::<(), Failure>(())
    };
    call.read(gone).await
}

/// Proposes, and again when the claim that is in the way is one that the caller gave up: that may
/// have been made while this was on its way.
async fn propose_until_free(
    services: &Arc<Services>,
    call: &Call,
    conditions: Conditions,
    acquire: Acquire,
) -> Result<(Revision, AcquireReply, Option<Withdraw>), Failure> {
    let (names, lease) = (acquire.names.clone(), acquire.lease);
    let withdraw = || Withdraw::of(Arc::clone(services), &acquire);
    let command = conditions.on(acquire.clone().into());
    loop {
        let proposed = propose(services, command.clone(), withdraw());
        let (revision, reply, withdraw) = call.write(proposed).await?;
        let refusal = match reply {
            Ok(reply) => return Ok((revision, reply, withdraw)),
            Err(refusal) => refusal,
        };
        let given_up = matches!(refusal, Refusal::AlreadyClaimed(_))
            && services.claims.is_withdrawn(&names, lease);
        if !given_up {
            return Err(refusal.into());
        }
        withdrawn(services, call, &names, lease).await?;
    }
}

/// What a proposal came to, and what withdraws the claims that it made.
type Proposed = (Revision, Result<AcquireReply, Refusal>, Option<Withdraw>);

/// Proposes in a task of its own, so that a caller that leaves meanwhile does not leave a claim
/// behind: it is withdrawn after it was made, never before, and only if it was made.
async fn propose(
    services: &Services,
    command: Command,
    withdraw: Withdraw,
) -> Result<Proposed, ProposeError> {
    let replica = Arc::clone(&services.replica);
    let (sender, proposed) = oneshot::channel();
    tasks::spawn("acquire", async move {
        let outcome = replica.propose(command).await;
        let proposed = outcome.map(reply_to::<Acquire>);
        let may_claim = match &proposed {
            Ok((_, Ok(reply))) => !reply.claims.is_empty(),
            Ok((_, Err(_))) => false,
            Err(error) => Reason::from(*error).outcome_unknown(),
        };
        let withdraw = if may_claim {
            Some(withdraw)
        } else {
            withdraw.forgo();
            None
        };
        // Nobody there any more: what is dropped here withdraws.
        drop(sender.send(proposed.map(|(revision, reply)| (revision, reply, withdraw))));
    });
    // Dropped unanswered only when the runtime ends.
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
        self.grow_lean();
        while !self.holds() {
            let give_up = self.give_up;
            let news = tokio::select! {
                // Cancel-safe as documented there.
                news = self.waiter.next() => news,
                // Ends the wait.
                () = at(give_up) => {
                    self.confirm().await?;
                    if self.holds() {
                        break;
                    }
                    return Err(Reason::WaitOver.into());
                }
            };
            match news {
                News::Signal(signal) => self.learn(signal)?,
                News::Lost => {
                    self.look()?;
                    self.grow_lean();
                }
            }
        }
        self.into_granted()
    }

    /// Lets go of values, which the state has too: thousands may wait for long, each with a value
    /// of its own and one of the claim in its way.
    fn grow_lean(&mut self) {
        if self.holds() {
            return;
        }
        self.is_lean = true;
        self.blocker = None;
        for claim in &mut self.claims {
            claim.value = Bytes::new();
        }
    }

    /// Learns from the quorum where the claims are: this node may lag, and what a request with an
    /// id came to is told as it is or not at all.
    async fn confirm(&mut self) -> Result<(), Failure> {
        match self.services.replica.read_barrier().await {
            Ok(()) => self.look(),
            Err(_) if self.withdraw.is_none() => Err(Reason::WriteTimedOut.into()),
            Err(_) => Err(Reason::WaitOver.into()),
        }
    }

    /// How many claims are before the one that is last in its queue.
    pub(in crate::rpc) fn position(&self) -> u32 {
        let positions = self.claims.iter().map(|claim| claim.position);
        positions.max().unwrap_or(0)
    }

    fn holds(&self) -> bool {
        self.claims.iter().all(|claim| claim.held)
    }

    /// Follows what became of a claim. The same key may have stood for another claim before, and
    /// signals of that one may still come.
    fn learn(&mut self, signal: Signal) -> Result<(), Failure> {
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
            // That the claim is gone is told, too.
            Signal::Forced(_) => {}
        }
        Ok(())
    }

    fn own(&mut self, now: &ClaimState) -> Option<&mut ClaimState> {
        self.claims.iter_mut().find(|claim| claim.key == now.key)
    }

    fn ended(&mut self, claim: &ClaimState, cause: EndCause) -> Failure {
        self.withdraw.take().into_iter().for_each(Withdraw::ended);
        let lock = || format!("lock {}", quoted(&claim.name));
        match cause {
            EndCause::LeaseEnded => Reason::LeaseEnded.with(lock()),
            EndCause::WaitOver => Reason::WaitOver.with(lock()),
            EndCause::Released => Reason::ClaimEnded.with(lock() + " was withdrawn from"),
            EndCause::Forced => Reason::ClaimEnded.with(lock() + ", by force"),
        }
    }

    /// Learns from the state what became of the claims. Reads a few rows and not their queues, so
    /// that all who wait for one name may look at once and none is refused.
    fn look(&mut self) -> Result<(), Failure> {
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

    /// Learns where in their queues the claims are. When too many large reads are under way they
    /// keep the position that was told the first time.
    async fn find_positions(&mut self) {
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

    fn into_granted(self) -> Result<Granted, Failure> {
        let Self {
            lease,
            mut claims,
            is_lean,
            ..
        } = self;
        let (revision, found) = self.services.latest(|reader| {
            if is_lean {
                read_values(reader, &mut claims)?;
            }
            Ok((reader.meta().revision, reader.lease(lease)?))
        })?;
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

/// Reads the values of claims that hold. One that is gone already has none.
fn read_values(reader: &Reader<'_>, claims: &mut [ClaimState]) -> Result<(), Fault> {
    for claim in claims {
        let found = reader.claim(&claim.name, claim.token)?;
        if let Some(found) = found.filter(|found| found.key == claim.key) {
            claim.value = found.value;
        }
    }
    Ok(())
}

/// Long after the wait is over, for a node that does not hear of it.
fn give_up(services: &Services, wait: Wait) -> Option<Instant> {
    let Wait::Within(wait) = wait else {
        return None;
    };
    let patience = Duration::from_millis(wait.0).checked_add(services.limits.request_timeout)?;
    Instant::now().checked_add(patience)
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What claims cost in the quota's terms.
fn cost(acquire: &Acquire) -> u64 {
    let lease = acquire.grant.map_or(0, |_| request::LEASE_COST_BYTES);
    let keys = acquire.names.iter().map(|name| {
        let fields = name.len() + acquire.value.len() + acquire.principal.len();
        request::PUT_OVERHEAD_BYTES + fields as u64
    });
    lease + keys.sum::<u64>()
}

//! Executes calls: chooses an endpoint, attaches metadata, enforces the deadline, decides about
//! retries.
//!
//! Invariant: a write is sent again only when no earlier attempt can have executed it, under a
//! request id by which a server of tenure recognizes the repeat, or when it is idempotent. Once an
//! attempt may have executed the write, a later error reports the outcome as unknown unless it
//! settles it.

use std::{future::Future, time::Duration};

use futures::future::BoxFuture;
use tenure_proto::{
    metadata::{REQUIRE_LEADER_METADATA, TOKEN_METADATA},
    v1::{InspectSessionRequest, session_client::SessionClient},
};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{
    Request, Status,
    metadata::{MetadataMap, MetadataValue},
    transport::Channel,
};
use tracing::{Instrument, Span, field::Empty};

use crate::{
    auth::UsedToken,
    breaker::Refused,
    call::{Call, Family},
    channel::{Lane, Pick},
    client::{Client, SequenceNumber, WAIT_MAX},
    conditions::Conditions,
    error::{Error, ErrorKind, Operation, Pushback},
    hedge::Hedging,
    observe::Counters,
    retry::{Backoff, attempt_limit, may_repeat},
};

/// Longest time for which a write is repeated under an idempotency key, which servers remember for
/// ten minutes: half of that, because they count from its execution.
const NAMED_MAX: Duration = Duration::from_secs(300);

/// State shared by the attempts of one call.
struct Run<'a> {
    client: &'a Client,
    call: &'a Call,
    deadline: Instant,
    conditions: Conditions,
    number: Option<SequenceNumber>,
    span: Span,
}

/// The progress of a call through its attempts.
#[derive(Default)]
struct Progress {
    attempts: u32,
    backoff: Backoff,
    /// The authentication token has been rejected, and another is fetched.
    renewed: bool,
    /// The token of the last attempt.
    token: Option<UsedToken>,
    /// An attempt may have executed the write and its outcome is unknown.
    unresolved: bool,
    /// Why the last attempt failed.
    last: Option<Error>,
}

impl Client {
    /// Makes `call`: retries `send` until it succeeds, must not be repeated, or the deadline
    /// passes.
    pub(crate) async fn run<Message, Answer, Dispatch, Fut>(
        &self,
        call: Call,
        message: Message,
        send: Dispatch,
    ) -> Result<Answer, Error>
    where
        Message: Clone,
        Dispatch: Fn(Channel, Request<Message>) -> Fut,
        Fut: Future<Output = Result<Answer, Status>>,
    {
        let span = tracing::debug_span!(
            "tenure.call",
            method = method::<Message>(),
            attempt = Empty,
            endpoint = Empty,
            outcome = Empty,
        );
        let outcome = async {
            let counters = self.counters();
            Counters::count(&counters.requests);
            self.budget().deposit();
            let run = Run::prepare(self, &call, span.clone()).await?;
            run.finish(&message, &send).await
        };
        let outcome = outcome.instrument(span.clone()).await;
        if let Err(error) = &outcome {
            span.record("outcome", tracing::field::debug(error.kind()));
            self.counters().failed(error);
        } else {
            span.record("outcome", "ok");
        }
        outcome
    }
}

impl<'a> Run<'a> {
    /// Collects the conditions and the sequence number that the call carries.
    async fn prepare(client: &'a Client, call: &'a Call, span: Span) -> Result<Self, Error> {
        let deadline = client.deadline(call.timeout);
        let mut run = Self {
            client,
            call,
            deadline,
            conditions: call.conditions.clone().unwrap_or_default(),
            number: call.number.clone(),
            span,
        };
        if call.operation == Operation::Read {
            run.ensure_tenure().await?;
            return Ok(run);
        }
        for guard in client.guards() {
            if call.conditions.is_none() {
                let text = "this call takes no guards; make it through a client without any";
                return Err(Error::local(ErrorKind::InvalidArgument, text));
            }
            run.conditions.add_guard(guard.clone());
        }
        run.ensure_tenure().await?;
        // A request has one id; an idempotency key set by the user outlives the session.
        let named = run.conditions.idempotency_key.is_some();
        if named {
            run.deadline = deadline.min(Instant::now() + NAMED_MAX);
        } else if call.conditions.is_some() && run.number.is_none() && !call.repeatable {
            run.number = client.allocate(deadline).await?;
        }
        Ok(run)
    }

    /// Checks that the server is tenure. Other servers ignore unknown metadata: a guard would not
    /// be checked, a repeat would be executed again, and a read would see any state.
    async fn ensure_tenure(&self) -> Result<(), Error> {
        self.conditions.check()?;
        let client = self.client;
        let known = self.call.family == Family::Tenure || client.speaks_tenure();
        let bare = self.conditions.is_empty() && self.call.freshness.is_unbounded();
        if bare || known {
            return Ok(());
        }
        match probe_tenure(client.bare(), self.call.lane, self.deadline).await {
            Err(error) if error.kind() == ErrorKind::Unimplemented => {
                let what = if self.conditions.is_empty() {
                    "a bound on the revision or the age of what is read"
                } else {
                    "a guard or an idempotency key"
                };
                Err(Error::needs_tenure(what, "the server"))
            }
            Err(error) if !client.speaks_tenure() => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the request takes effect once however often it is sent.
    fn is_identified(&self) -> bool {
        self.is_remembered() || self.call.repeatable
    }

    /// Whether the server remembers the outcome of the request.
    fn is_remembered(&self) -> bool {
        self.number.is_some() || self.conditions.idempotency_key.is_some()
    }

    async fn finish<Message, Answer, Dispatch, Fut>(
        &self,
        message: &Message,
        send: &Dispatch,
    ) -> Result<Answer, Error>
    where
        Message: Clone,
        Dispatch: Fn(Channel, Request<Message>) -> Fut,
        Fut: Future<Output = Result<Answer, Status>>,
    {
        let mut progress = Progress::default();
        loop {
            if let Some(number) = &self.number {
                let check = number.session().check();
                check.map_err(|error| error.with_unknown_outcome(progress.unresolved))?;
            }
            let outcome = match self.request(message.clone()).await {
                Ok((request, token)) => {
                    progress.token = Some(token);
                    let Some(pick) = self.pick(&mut progress).await? else {
                        continue;
                    };
                    progress.attempts += 1;
                    self.span.record("attempt", progress.attempts);
                    let answer = self.attempt_or_hedge(pick, request, send).await;
                    answer.map_err(|error| self.judge(error, progress.unresolved))
                }
                // There is no authentication token for it, which does not settle earlier attempts.
                Err(error) => {
                    progress.attempts += 1;
                    Err(error.with_unknown_outcome(progress.unresolved))
                }
            };
            let error = match outcome {
                Ok(answer) => {
                    if progress.unresolved {
                        Counters::count(&self.client.counters().unknown_resolved);
                    }
                    return Ok(answer);
                }
                Err(error) => error.with_previous(progress.last.as_ref()),
            };
            if progress.unresolved && !error.outcome_unknown() {
                Counters::count(&self.client.counters().unknown_resolved);
            }
            progress.unresolved = error.outcome_unknown();
            self.prepare_repeat(error, &mut progress).await?;
        }
    }

    /// An endpoint for the next attempt; `None` to try again after a wait.
    async fn pick(&self, progress: &mut Progress) -> Result<Option<Pick<'a>>, Error> {
        let pool = self.client.pool();
        // Registers before the check, so that no notification is missed.
        let relief = pool.relief();
        let until = match pool.pick(self.call.lane) {
            Ok(pick) => return Ok(Some(pick)),
            Err(Refused::Until(until)) if until < self.deadline => until,
            Err(Refused::Probing) if Instant::now() < self.deadline => self.deadline,
            Err(_) => {
                let unreachable = || Error::unreachable(pool.names());
                let last = progress.last.take().unwrap_or_else(unreachable);
                return Err(last.with_unknown_outcome(progress.unresolved));
            }
        };
        // Cancel safe: the loop checks again.
        _ = timeout_at(until, relief).await;
        Ok(None)
    }

    /// Combines an error with the outcome of earlier attempts.
    fn judge(&self, error: Error, unresolved: bool) -> Error {
        if error.kind() == ErrorKind::SessionLost
            && let Some(number) = &self.number
        {
            number.session().forgotten();
        }
        if self.is_remembered() {
            error.with_earlier_attempts(unresolved)
        } else {
            error.with_unknown_outcome(unresolved)
        }
    }

    /// Waits until the next attempt is allowed.
    ///
    /// # Errors
    /// Returns `error` when there must be no other attempt.
    async fn prepare_repeat(&self, error: Error, progress: &mut Progress) -> Result<(), Error> {
        let client = self.client;
        let harmless = self.is_identified() || !error.outcome_unknown();
        if let Some(token) = progress.token.take()
            && error.is_stale_token()
            && harmless
            && client.token().renewable()
            && !progress.renewed
        {
            progress.renewed = true;
            client.token().reject(&token);
            return Ok(());
        }
        // An unknown outcome is resolved regardless of the number of attempts.
        let enough = progress.attempts >= client.config().attempts_max && !progress.unresolved;
        if enough || !may_repeat(self.is_identified(), &error) {
            return Err(error);
        }
        let full_round = progress.attempts.is_multiple_of(client.pool().len());
        let resume = match error.pushback() {
            // The server sends the same delay to all clients that it rejects, so jitter is added.
            Some(Pushback::After(pause)) => {
                Instant::now() + pause.min(WAIT_MAX) + progress.backoff.next_pause()
            }
            // The other endpoints are tried at once; the client waits only after a full round
            // without success.
            _ if full_round => Instant::now() + progress.backoff.next_pause(),
            _ => Instant::now(),
        };
        if resume >= self.deadline {
            return Err(error);
        }
        sleep_until(resume).await;
        // An attempt that was never sent puts no load on a server.
        while error.was_sent() && !client.budget().withdraw() {
            Counters::count(&client.counters().budget_refusals);
            let resume = Instant::now() + progress.backoff.next_pause();
            if !progress.unresolved || resume >= self.deadline {
                return Err(error);
            }
            sleep_until(resume).await;
        }
        Counters::count(&client.counters().retries);
        progress.last = Some(error);
        Ok(())
    }

    /// When an unanswered attempt is also sent to a second endpoint, and whether that is a hedge.
    /// Otherwise the first endpoint has been silent for so long that it may have failed; its
    /// attempt continues, because a large read may take longer.
    fn second_attempt_at(&self, hedging: Option<&Hedging>) -> Option<(Instant, bool)> {
        let now = Instant::now();
        let hedge = hedging.and_then(Hedging::delay);
        let hedge = hedge.map(|delay| (now + delay.min(WAIT_MAX), true));
        let limit = attempt_limit(now, self.deadline);
        let harmless = self.call.operation == Operation::Read && self.client.pool().len() > 1;
        let silence = (harmless && limit < self.deadline).then_some((limit, false));
        [hedge, silence]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// One attempt, or two at different endpoints, of which the first response is used.
    async fn attempt_or_hedge<Message, Answer, Dispatch, Fut>(
        &self,
        pick: Pick<'a>,
        request: RequestTemplate<Message>,
        send: &Dispatch,
    ) -> Result<Answer, Error>
    where
        Message: Clone,
        Dispatch: Fn(Channel, Request<Message>) -> Fut,
        Fut: Future<Output = Result<Answer, Status>>,
    {
        let client = self.client;
        let call = self.call;
        // Not all calls of tenure.v1 that are marked as reads are: one opens a session.
        let read = call.operation == Operation::Read && call.family == Family::Etcd;
        let hedging = client.hedging().filter(|_| read && call.announce);
        let started = Instant::now();
        let observe = |answer: &Result<Answer, Error>| {
            if let (Some(hedging), Ok(_)) = (hedging, answer) {
                hedging.observe(started.elapsed());
            }
        };
        let Some((at, hedge)) = self.second_attempt_at(hedging) else {
            let answer = self.attempt(pick, request, send).await;
            observe(&answer);
            return answer;
        };
        let first_index = pick.index;
        let first = self.attempt(pick, request.clone(), send);
        tokio::pin!(first);
        // Cancel safe: the attempt is pinned outside and continues below.
        if let Ok(answer) = timeout_at(at, &mut first).await {
            observe(&answer);
            return answer;
        }
        if !hedge {
            client.pool().avoid(first_index);
        }
        let other = client.pool().pick_other(self.call.lane, first_index);
        let Some(other) = other.filter(|_| client.budget().withdraw()) else {
            return first.await;
        };
        let counters = client.counters();
        Counters::count(if hedge {
            &counters.hedges_sent
        } else {
            &counters.retries
        });
        let second = self.attempt(other, request, send);
        tokio::pin!(second);
        // Cancel safe: dropping the slower read has no effect; an unused session expires.
        let (answer, by_second) = tokio::select! {
            answer = &mut first => match answer {
                Ok(answer) => (Ok(answer), false),
                Err(_) => (second.await, true),
            },
            answer = &mut second => match answer {
                Ok(answer) => (Ok(answer), true),
                Err(_) => (first.await, false),
            },
        };
        observe(&answer);
        if hedge && by_second && answer.is_ok() {
            Counters::count(&client.counters().hedges_won);
        }
        answer
    }

    async fn attempt<Message, Answer, Dispatch, Fut>(
        &self,
        pick: Pick<'a>,
        request: RequestTemplate<Message>,
        send: &Dispatch,
    ) -> Result<Answer, Error>
    where
        Dispatch: Fn(Channel, Request<Message>) -> Fut,
        Fut: Future<Output = Result<Answer, Status>>,
    {
        let Pick {
            index,
            name,
            channel,
            permit,
        } = pick;
        self.span.record("endpoint", name);
        let (client, call) = (self.client, self.call);
        let limit = match (call.operation, self.is_identified()) {
            (Operation::Write, true) => attempt_limit(Instant::now(), self.deadline),
            _ => self.deadline,
        };
        let request = request.into_request(call.announce.then_some(limit));
        let answer = timeout_at(limit, send(channel, request)).await;
        permit.observe(&answer);
        match answer {
            Ok(Ok(answer)) => {
                if call.family == Family::Tenure {
                    client.learn_tenure();
                }
                Ok(answer)
            }
            Ok(Err(status)) => {
                let error = Error::from_status(status, call.operation, name);
                // Other servers respond that the service is unknown.
                let error = match call.family {
                    Family::Tenure if !client.speaks_tenure() => {
                        error.explain_unimplemented(method::<Message>(), name)
                    }
                    _ => error,
                };
                if error.allows_resume() {
                    client.pool().avoid(index);
                }
                if error.is_from_tenure() {
                    client.learn_tenure();
                }
                tracing::debug!(endpoint = name, %error, "attempt failed");
                Err(error)
            }
            Err(_) => {
                client.pool().avoid(index);
                tracing::debug!(endpoint = name, "attempt was not answered");
                Err(Error::deadline(call.operation))
            }
        }
    }

    /// Builds the request with its metadata, of which the token is returned as well.
    async fn request<Message>(
        &self,
        message: Message,
    ) -> Result<(RequestTemplate<Message>, UsedToken), Error> {
        let mut metadata = MetadataMap::new();
        let client = self.client;
        let token = client.token().get(client.pool(), self.deadline).await?;
        if let Some(text) = token.text() {
            let mut value = MetadataValue::try_from(text)
                .map_err(|_| Error::local(ErrorKind::Config, "the token is not ASCII text"))?;
            // Neither shown by logs of the transport nor kept by its compression of headers.
            value.set_sensitive(true);
            metadata.insert(TOKEN_METADATA, value);
        }
        if self.call.require_leader {
            metadata.insert(REQUIRE_LEADER_METADATA, MetadataValue::from_static("true"));
        }
        self.conditions.attach(&mut metadata);
        self.call.freshness.attach(&mut metadata);
        if let Some(number) = &self.number {
            number.id().attach(&mut metadata);
        }
        Ok((RequestTemplate { metadata, message }, token))
    }
}

/// A request that can be sent to more than one endpoint.
#[derive(Clone)]
struct RequestTemplate<Message> {
    metadata: MetadataMap,
    message: Message,
}

impl<Message> RequestTemplate<Message> {
    /// The request, with its deadline if it is announced to the server.
    fn into_request(self, deadline: Option<Instant>) -> Request<Message> {
        let extensions = tonic::Extensions::default();
        let mut request = Request::from_parts(self.metadata, extensions, self.message);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        request
    }
}

/// Probes whether the server offers `tenure.v1`; the client records the answer. Boxed, because this
/// is a call within a call.
fn probe_tenure(
    client: Client,
    lane: Lane,
    deadline: Instant,
) -> BoxFuture<'static, Result<(), Error>> {
    let left = deadline.saturating_duration_since(Instant::now());
    let call = Call::tenure(Operation::Read, lane).timeout(Some(left));
    // There is no such session: the probe only needs a response of the service.
    let request = InspectSessionRequest { session: 0 };
    Box::pin(async move {
        let probe = client.run(call, request, |channel, request| async move {
            SessionClient::new(channel).inspect(request).await
        });
        probe.await.map(drop)
    })
}

/// The name of the call, from the name of its message.
fn method<Message>() -> &'static str {
    let name = std::any::type_name::<Message>();
    let name = name.rsplit("::").next().unwrap_or(name);
    name.strip_suffix("Request").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use tenure_proto::etcdserverpb::{DeleteRangeRequest, LeaseKeepAliveRequest};

    use super::*;

    #[test]
    fn a_call_is_named_after_its_message() {
        assert_eq!(method::<DeleteRangeRequest>(), "DeleteRange");
        assert_eq!(method::<LeaseKeepAliveRequest>(), "LeaseKeepAlive");
    }
}

//! Locks.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, future, stream};
use tenure_proto::{
    metadata::OUTCOME_METADATA,
    v1::{
        self, AcquireRequest, AcquireResponse, CheckTokenRequest, CheckTokenResponse,
        ForceReleaseRequest, ForceReleaseResponse, Granted, InspectRequest, InspectResponse,
        ListRequest, ListResponse, Queued, ReleaseRequest, ReleaseResponse, TransferRequest,
        TransferResponse, TryAcquireResponse, WatchTokensRequest, WatchTokensResponse,
        WithdrawRequest, WithdrawResponse, acquire_response::State, lock_server::Lock, mode::Kind,
    },
};
use tenure_statemachine::{
    Acquire, ClaimState, ForceRelease, LeaseId, Mode, Operation, Release, Revision, Transfer, Ttl,
    Wait, Withdraw,
};
use tonic::{Code, Request, Response, Status};

use super::{
    arrival::Arrival,
    message::{claim, refusal, tenure_header},
    node::{Answer, Answers, Service, absent},
    store::Store,
};

fn mode(mode: Option<v1::Mode>) -> Mode {
    match mode.and_then(|mode| mode.kind) {
        Some(Kind::Shared(_)) => Mode::Shared,
        Some(Kind::Permits(permits)) => Mode::Permits {
            count: permits.count,
            limit: permits.limit,
        },
        Some(Kind::Exclusive(_)) | None => Mode::Exclusive,
    }
}

/// Converts the wait time of a message.
pub(super) fn wait(wait_ms: u64) -> Wait {
    match wait_ms {
        0 => Wait::Always,
        limit => Wait::Within(Ttl(limit)),
    }
}

fn acquire(request: AcquireRequest, wait: Wait) -> Acquire {
    Acquire {
        names: request.names,
        mode: mode(request.mode),
        lease: LeaseId(request.lease),
        wait,
        lock_delay: Ttl(request.lock_delay_ms),
        principal: request.principal,
        value: request.value,
        ..Acquire::default()
    }
}

fn granted(store: &Store, claims: Vec<ClaimState>) -> Granted {
    let now = store.now();
    Granted {
        lease: claims.first().map_or(0, |claim| claim.lease.0),
        claims: claims.into_iter().map(|it| claim(it, now)).collect(),
        ..Granted::default()
    }
}

/// Returns the states of the claims of a lease, if all of them exist.
fn states(store: &Store, names: &[Bytes], lease: LeaseId) -> Result<Vec<ClaimState>, Status> {
    let claims = names.iter().map(|name| store.claim_of(name, lease));
    claims.collect::<Option<_>>().ok_or_else(|| {
        let lives = store.leases().iter().any(|found| found.id == lease);
        let reason = if lives { "ClaimEnded" } else { "LeaseEnded" };
        refusal(reason, Code::FailedPrecondition, None)
    })
}

fn acquired(store: &Store, claims: Vec<ClaimState>) -> AcquireResponse {
    let state = if claims.iter().all(|claim| claim.held) {
        State::Granted(granted(store, claims))
    } else {
        let now = store.now();
        let waiting = claims.iter().find(|claim| !claim.held);
        let holder = waiting.and_then(|waiting| store.holder(&waiting.name));
        let position = claims.iter().map(|claim| claim.position).max();
        State::Queued(Queued {
            position: position.unwrap_or(0),
            holder: holder.map(|it| claim(it, now)),
            claims: claims.into_iter().map(|it| claim(it, now)).collect(),
            ..Queued::default()
        })
    };
    AcquireResponse {
        header: tenure_header(store.revision()),
        state: Some(state),
    }
}

impl Service {
    /// Acquires claims by `command` and follows them: sends their first and their last state, each
    /// converted by `answer`.
    pub(super) async fn acquire_and_follow<Message, T>(
        &self,
        call: &'static str,
        request: Request<Message>,
        acquire: impl FnOnce(Message) -> Acquire + Send + 'static,
        answer: impl Fn(&Store, Vec<ClaimState>) -> T + Send + 'static,
    ) -> Answer<Answers<T>>
    where
        Message: Send + 'static,
        T: Send + 'static,
    {
        let forgetful = self.fake.modes.borrow().forgetful;
        let execute = move |store: &mut Store, arrival: &Arrival, request| {
            let acquire = acquire(request);
            let (names, lease) = (acquire.names.clone(), acquire.lease);
            if forgetful {
                return Err(refusal("RequestForgotten", Code::FailedPrecondition, None));
            }
            store.write(arrival, acquire)?;
            Ok((names, lease))
        };
        let (names, lease) = match self.take(call, request, execute).await {
            Ok(executed) => executed.into_inner(),
            // The stream was opened, and breaks without a message.
            Err(status) if status.metadata().contains_key(OUTCOME_METADATA) => {
                let broken = stream::once(future::ready(Err(status)));
                return Ok(Response::new(broken.boxed()));
            }
            Err(status) => return Err(status),
        };
        let followed = self.follow(move |store| {
            let claims = states(store, &names, lease)?;
            let held = claims.iter().all(|claim| claim.held);
            Ok((held, answer(store, claims)))
        });
        Ok(Response::new(self.breakable(first_and_last(followed))))
    }

    /// Executes an operation with an empty reply.
    pub(super) async fn execute<
        Message: Send + 'static,
        O: Operation,
        T: Default + Send + 'static,
    >(
        &self,
        call: &'static str,
        request: Request<Message>,
        operation: impl FnOnce(Message) -> O + Send + 'static,
    ) -> Answer<T> {
        self.take(call, request, |store, arrival, request| {
            store.write(arrival, operation(request))?;
            Ok(T::default())
        })
        .await
    }

    /// Executes a command that makes another claim hold. Returns that claim.
    pub(super) async fn move_claim<Message, O, T>(
        &self,
        call: &'static str,
        request: Request<Message>,
        operation: impl FnOnce(Message) -> O + Send + 'static,
        answer: impl FnOnce(v1::Claim) -> T + Send + 'static,
    ) -> Answer<T>
    where
        Message: Send + 'static,
        O: Operation<Reply = ClaimState>,
        T: Send + 'static,
    {
        self.take(call, request, |store, arrival, request| {
            let moved = store.write(arrival, operation(request))?;
            Ok(answer(claim(moved, store.now())))
        })
        .await
    }
}

/// Returns the first and the last of a stream of states; each state says whether it is the last.
fn first_and_last<T: Send + 'static>(
    states: impl Stream<Item = Result<(bool, T), Status>> + Send + 'static,
) -> impl Stream<Item = Result<T, Status>> + Send + 'static {
    let (mut first, mut over) = (true, false);
    let said = states.filter_map(move |state| {
        let last = state.as_ref().map_or(true, |(held, _)| *held);
        let wanted = std::mem::take(&mut first) || last;
        future::ready(wanted.then_some((last, state.map(|(_, answer)| answer))))
    });
    said.take_while(move |(last, _)| {
        let done = std::mem::replace(&mut over, *last);
        future::ready(!done)
    })
    .map(|(_, answer)| answer)
}

#[tonic::async_trait]
impl Lock for Service {
    type AcquireStream = Answers<AcquireResponse>;
    type WatchTokensStream = Answers<WatchTokensResponse>;

    async fn acquire(&self, request: Request<AcquireRequest>) -> Answer<Self::AcquireStream> {
        let fake = Arc::clone(&self.fake);
        let command = |request: AcquireRequest| {
            let wait = wait(request.wait_ms);
            acquire(request, wait)
        };
        let answer = move |store: &Store, mut claims: Vec<ClaimState>| {
            if fake.modes.borrow().misname {
                let names = claims.iter_mut().map(|claim| &mut claim.name);
                names.for_each(|name| *name = Bytes::from_static(b"another"));
            }
            acquired(store, claims)
        };
        self.acquire_and_follow("acquire", request, command, answer)
            .await
    }

    async fn try_acquire(&self, request: Request<AcquireRequest>) -> Answer<TryAcquireResponse> {
        self.take("try_acquire", request, |store, arrival, request| {
            let reply = store.write(arrival, acquire(request, Wait::Never))?;
            let made = !reply.claims.is_empty();
            Ok(TryAcquireResponse {
                granted: made.then(|| granted(store, reply.claims)),
                ..TryAcquireResponse::default()
            })
        })
        .await
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Answer<ReleaseResponse> {
        let command = |request: ReleaseRequest| Release {
            name: request.name,
            token: Revision(request.token),
        };
        self.execute("release", request, command).await
    }

    async fn withdraw(&self, request: Request<WithdrawRequest>) -> Answer<WithdrawResponse> {
        self.take("withdraw", request, |store, arrival, request| {
            let withdraw = Withdraw {
                name: request.name,
                lease: LeaseId(request.lease),
                call: 0,
            };
            let withdrawn = store.write(arrival, withdraw)?;
            Ok(WithdrawResponse {
                withdrawn,
                ..WithdrawResponse::default()
            })
        })
        .await
    }

    async fn transfer(&self, request: Request<TransferRequest>) -> Answer<TransferResponse> {
        let command = |request: TransferRequest| Transfer {
            name: request.name,
            token: Revision(request.token),
            to: LeaseId(request.to_lease),
            principal: request.principal,
        };
        let answer = |claim| TransferResponse {
            claim: Some(claim),
            ..TransferResponse::default()
        };
        self.move_claim("transfer", request, command, answer).await
    }

    async fn check_token(&self, request: Request<CheckTokenRequest>) -> Answer<CheckTokenResponse> {
        self.take("check_token", request, |store, _, request| {
            let holder = store.holder(&request.name);
            let current = holder.as_ref().map_or(0, |holder| holder.token.0);
            Ok(CheckTokenResponse {
                header: tenure_header(store.revision()),
                valid: current != 0 && current == request.token,
                current_token: current,
                holder: holder.map(|it| claim(it, store.now())),
                ..CheckTokenResponse::default()
            })
        })
        .await
    }

    async fn watch_tokens(
        &self,
        _: Request<WatchTokensRequest>,
    ) -> Answer<Self::WatchTokensStream> {
        absent()
    }

    async fn inspect(&self, request: Request<InspectRequest>) -> Answer<InspectResponse> {
        self.take("inspect", request, |store, _, request| {
            let waiters_max = usize::try_from(request.limit).expect("a small number");
            let queue = store.reader().queue(&request.name, waiters_max);
            let queue = queue.expect("memory can be read");
            let claims = |found: Vec<ClaimState>| {
                let claims = found.into_iter().map(|it| claim(it, store.now()));
                claims.collect()
            };
            Ok(InspectResponse {
                header: tenure_header(store.revision()),
                holders: claims(queue.holders),
                waiters: claims(queue.waiters),
                waiting: queue.waiting,
                ..InspectResponse::default()
            })
        })
        .await
    }

    async fn list(&self, _: Request<ListRequest>) -> Answer<ListResponse> {
        absent()
    }

    async fn force_release(
        &self,
        request: Request<ForceReleaseRequest>,
    ) -> Answer<ForceReleaseResponse> {
        let command = |request: ForceReleaseRequest| ForceRelease {
            name: request.name,
            token: Revision(request.token),
            why: request.reason,
        };
        self.execute("force_release", request, command).await
    }
}

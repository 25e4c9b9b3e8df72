//! The `Lock` service of tenure: acquire, release, transfer, check, watch, inspect, list.

use std::sync::Arc;

use tenure_proto::{
    limits::{JUSTIFICATION_BYTES_MAX, WATCHED_NAMES_MAX},
    v1::{self as wire, acquire_response::State, lock_server::Lock},
};
use tenure_statemachine::{
    Acquire, ClaimState, ForceRelease, Lease, Need, Reader, Release, Revision, Transfer, Ttl, Wait,
    Withdraw, claim_range,
};
use tonic::{Request, Response, Status};

use crate::rpc::{
    answer::{failure::Failure, large::MessagePath, status::Reason},
    border::{field, freshness::Freshness, request},
    call::Call,
    claim::{
        acquire::{self, AcquireOutcome, Granted, Waiting},
        delivery::notice_cancellation,
        names,
        responses::{Messages, Responses, claim, claims, responses},
    },
    services::Services,
};

/// Waiting claims in a response to an inspection without a limit.
const WAITERS_DEFAULT: u32 = 100;
/// Most waiting claims in a response: as many as may wait for one name.
const WAITERS_MAX: u32 = 10_000;
/// Locks in a response to a listing without a limit.
const LOCKS_DEFAULT: u32 = 1000;
/// Most locks in a response.
const LOCKS_MAX: u32 = 10_000;

type Holders = names::Changed<Option<ClaimState>>;

#[derive(Debug)]
pub(in crate::rpc) struct LockService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Lock for LockService {
    type AcquireStream = Responses<wire::AcquireResponse>;
    type WatchTokensStream = Responses<wire::WatchTokensResponse>;

    async fn acquire(
        &self,
        request: Request<wire::AcquireRequest>,
    ) -> Result<Response<Self::AcquireStream>, Status> {
        let path = MessagePath::of(&request);
        let connection = request.extensions().get().cloned();
        let (call, outcome) = self.begin(request, true).await?;
        let messages = Messages {
            waiting: queued_response,
            granted: granted_response,
        };
        let responses = responses(&self.0, call, outcome, messages, connection)?;
        Ok(path.response(&self.0, responses))
    }

    async fn try_acquire(
        &self,
        request: Request<wire::AcquireRequest>,
    ) -> Result<Response<wire::TryAcquireResponse>, Status> {
        let (_, outcome) = self.begin(request, false).await?;
        let now = self.0.replica.cluster_time();
        let (revision, granted, holder) = match outcome {
            AcquireOutcome::Granted(held) => {
                notice_cancellation().await;
                let message = granted(&self.0, &held);
                let revision = held.revision;
                held.delivered();
                (revision, Some(message), None)
            }
            AcquireOutcome::Blocked(revision, holder) => (revision, None, holder.map(|it| *it)),
            // The claim of an earlier request with the same id, which this one must not withdraw.
            AcquireOutcome::Waiting(waiting) => (waiting.revision, None, waiting.blocker.clone()),
        };
        Ok(self.0.written(wire::TryAcquireResponse {
            header: Some(self.0.headers.own(revision)),
            granted,
            holder: holder.map(|holder| claim(holder, now)),
        })?)
    }

    async fn release(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let release = Release {
            name: field::name(request.name)?,
            token: field::token(request.token)?,
        };
        let header = self
            .0
            .write_for_header(&call, conditions, 0, release)
            .await?;
        Ok(Response::new(wire::ReleaseResponse { header }))
    }

    async fn withdraw(
        &self,
        request: Request<wire::WithdrawRequest>,
    ) -> Result<Response<wire::WithdrawResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let withdraw = Withdraw {
            name: field::name(request.name)?,
            lease: field::lease(request.lease)?,
            call: 0,
        };
        let (revision, withdrawn) = self.0.write(&call, conditions, 0, withdraw).await?;
        Ok(Response::new(wire::WithdrawResponse {
            header: Some(self.0.headers.own(revision)),
            withdrawn,
        }))
    }

    async fn transfer(
        &self,
        request: Request<wire::TransferRequest>,
    ) -> Result<Response<wire::TransferResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let transfer = Transfer {
            name: field::name(request.name)?,
            token: field::token(request.token)?,
            to: field::lease(request.to_lease)?,
            principal: field::principal(request.principal)?,
        };
        let cost = request::PUT_OVERHEAD_BYTES;
        let (revision, held) = self.0.write(&call, conditions, cost, transfer).await?;
        Ok(self.0.written(wire::TransferResponse {
            header: Some(self.0.headers.own(revision)),
            claim: Some(claim(held, self.0.replica.cluster_time())),
        })?)
    }

    async fn check_token(
        &self,
        request: Request<wire::CheckTokenRequest>,
    ) -> Result<Response<wire::CheckTokenResponse>, Status> {
        let call = self.0.admit(&request)?;
        let freshness = Freshness::of(request.metadata())?;
        let wire::CheckTokenRequest { name, token } = request.into_inner();
        let (name, token) = (field::name(name)?, field::token(token)?);
        let permit = self
            .0
            .permit(&call, vec![Need::Read(claim_range(&name))])
            .await?;
        freshness.reach(&self.0, &call, false).await?;
        let read = |reader: &Reader<'_>| {
            permit.check(reader)?;
            let valid = reader.holds(&name, token)?;
            let holder = reader.holder(&name)?;
            let lease = holder.as_ref().map(|holder| reader.lease(holder.lease));
            let lease = lease.transpose()?.flatten();
            Ok((reader.meta().revision, valid, holder, lease))
        };
        let (revision, valid, holder, lease) = self.0.latest(read)?;
        let now = self.0.replica.cluster_time();
        let remaining = |lease: &Lease| self.0.remaining(lease);
        Ok(self.0.found(wire::CheckTokenResponse {
            header: Some(self.0.headers.own(revision)),
            valid,
            current_token: holder.as_ref().map_or(0, |holder| holder.token.0),
            holder: holder.map(|holder| claim(holder, now)),
            remaining_ms: lease.as_ref().map_or(Ttl(0), remaining).0,
        })?)
    }

    async fn watch_tokens(
        &self,
        request: Request<wire::WatchTokensRequest>,
    ) -> Result<Response<Self::WatchTokensStream>, Status> {
        let path = MessagePath::of(&request);
        let call = self.0.admit(&request)?;
        let names = field::names(request.into_inner().names, WATCHED_NAMES_MAX)?;
        let respond = |services: &Services, revision: Revision, changed: Holders| {
            let now = services.replica.cluster_time();
            let states = changed.into_iter().map(|(name, holder)| wire::TokenState {
                name,
                min_valid_token: holder.as_ref().map_or(0, |holder| holder.token.0),
                holder: holder.map(|holder| claim(holder, now)),
            });
            Some(wire::WatchTokensResponse {
                header: Some(services.headers.own(revision)),
                states: states.collect(),
            })
        };
        let responses = names::follow(&self.0, call, names, names::TOKEN, respond).await?;
        Ok(path.response(&self.0, responses))
    }

    async fn inspect(
        &self,
        request: Request<wire::InspectRequest>,
    ) -> Result<Response<wire::InspectResponse>, Status> {
        let call = self.0.admit(&request)?;
        let freshness = Freshness::of(request.metadata())?;
        let wire::InspectRequest { name, limit } = request.into_inner();
        let name = field::name(name)?;
        let limit = list_len(limit, WAITERS_DEFAULT, WAITERS_MAX);
        let permit = self
            .0
            .permit(&call, vec![Need::Read(claim_range(&name))])
            .await?;
        freshness.reach(&self.0, &call, false).await?;
        let services = Arc::clone(&self.0);
        let read = move |reader: &Reader<'_>| {
            permit.check(reader)?;
            let queue = reader.queue(&name, limit)?;
            let now = services.replica.cluster_time();
            Ok(wire::InspectResponse {
                header: Some(services.headers.own(reader.meta().revision)),
                holders: claims(queue.holders, now),
                waiters: claims(queue.waiters, now),
                waiting: queue.waiting,
                delay_ms: queue.delay_until.map_or(0, |until| now.until(until).0),
            })
        };
        Ok(self.0.answer(&call, read).await?)
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let call = self.0.admit(&request)?;
        let freshness = Freshness::of(request.metadata())?;
        let wire::ListRequest { prefix, limit } = request.into_inner();
        let limit = list_len(limit, LOCKS_DEFAULT, LOCKS_MAX);
        let permit = self.0.permit(&call, vec![Need::User]).await?;
        freshness.reach(&self.0, &call, false).await?;
        let services = Arc::clone(&self.0);
        let read = move |reader: &Reader<'_>| {
            permit.check(reader)?;
            let (found, more) = if permit.covers_all(reader)? {
                reader.claimed_names(&prefix, limit)?
            } else {
                // Neither the number returned nor `more` tells of claims that are left out.
                let all = list_len(0, LOCKS_MAX, LOCKS_MAX);
                let (mut found, _) = reader.claimed_names(&prefix, all)?;
                permit.retain_claims(reader, &mut found)?;
                let more = found.len() > limit;
                found.truncate(limit);
                (found, more)
            };
            Ok(wire::ListResponse {
                header: Some(services.headers.own(reader.meta().revision)),
                claims: claims(found, services.replica.cluster_time()),
                more,
            })
        };
        Ok(self.0.answer(&call, read).await?)
    }

    async fn force_release(
        &self,
        request: Request<wire::ForceReleaseRequest>,
    ) -> Result<Response<wire::ForceReleaseResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let name = field::name(request.name)?;
        // Zero names every claim that holds.
        let token = match request.token {
            0 => Revision(0),
            token => field::token(token)?,
        };
        let why = request.reason;
        if why.is_empty() {
            return Err(Reason::JustificationMissing.into());
        }
        if why.len() > JUSTIFICATION_BYTES_MAX {
            let (reason, bytes) = (Reason::JustificationTooLong, why.len());
            return Err(field::too_long(reason, bytes, JUSTIFICATION_BYTES_MAX).into());
        }
        let release = ForceRelease { name, token, why };
        let (revision, released) = self.0.write(&call, conditions, 0, release).await?;
        Ok(self.0.written(wire::ForceReleaseResponse {
            header: Some(self.0.headers.own(revision)),
            released: claims(released, self.0.replica.cluster_time()),
        })?)
    }
}

impl LockService {
    async fn begin(
        &self,
        request: Request<wire::AcquireRequest>,
        waits: bool,
    ) -> Result<(Call, AcquireOutcome), Failure> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let mut acquire = acquisition(request)?;
        if !waits {
            acquire.wait = Wait::Never;
        }
        let outcome = acquire::begin(&self.0, &call, conditions, acquire).await?;
        Ok((call, outcome))
    }
}

/// The requested claims, which wait as long as the request allows.
fn acquisition(request: wire::AcquireRequest) -> Result<Acquire, Failure> {
    let (lease, grant) = field::lease_or_ttl(request.lease, request.ttl_ms)?;
    Ok(Acquire {
        names: field::bundle(request.names)?,
        mode: field::mode(request.mode)?,
        lease,
        grant,
        wait: field::wait(request.wait_ms),
        lock_delay: field::lock_delay(request.lock_delay_ms)?,
        principal: field::principal(request.principal)?,
        value: request.value,
        rejoin: false,
        call: 0,
    })
}

/// The length of a list: as requested and at most `max`, or `default` when none is requested.
fn list_len(requested: u32, default: u32, max: u32) -> usize {
    let limit = if requested == 0 {
        default
    } else {
        requested.min(max)
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn queued_response(services: &Services, waiting: &Waiting) -> wire::AcquireResponse {
    let now = services.replica.cluster_time();
    let holder = waiting.blocker.clone();
    let queued = wire::Queued {
        claims: claims(waiting.claims.clone(), now),
        position: waiting.position(),
        holder: holder.map(|holder| claim(holder, now)),
        lease: waiting.lease.0,
        ttl_ms: waiting.ttl.0,
    };
    wire::AcquireResponse {
        header: Some(services.headers.own(waiting.revision)),
        state: Some(State::Queued(queued)),
    }
}

fn granted_response(services: &Services, held: &Granted) -> wire::AcquireResponse {
    wire::AcquireResponse {
        header: Some(services.headers.own(held.revision)),
        state: Some(State::Granted(granted(services, held))),
    }
}

fn granted(services: &Services, held: &Granted) -> wire::Granted {
    wire::Granted {
        claims: claims(held.claims.clone(), services.replica.cluster_time()),
        lease: held.lease.0,
        ttl_ms: held.ttl.0,
        remaining_ms: held.remaining.0,
    }
}

#[cfg(test)]
mod tests;

//! The `Lock` service of tenure: acquire and give back, hand on, check, watch, look into.

use std::sync::Arc;

use tenure_proto::{
    limits::{JUSTIFICATION_BYTES_MAX, WATCHED_NAMES_MAX},
    v1::{self as wire, acquire_response::State, lock_server::Lock},
};
use tenure_statemachine::{
    Acquire, ClaimState, ForceRelease, Lease, Reader, Release, Revision, Transfer, Ttl, Wait,
    Withdraw,
};
use tonic::{Request, Response, Status};

use crate::rpc::{
    answer::{failure::Failure, large::Taker, status::Reason},
    border::{field, freshness::Freshness, request},
    call::Call,
    claim::{
        acquire::{self, Begun, Granted, Waiting},
        delivery::last_look,
        names,
        responses::{Responses, Tell, claim, claims, responses},
    },
    services::Services,
};

/// Waiting claims that are told when it is not said how many.
const WAITERS_TOLD: u32 = 100;
/// Most waiting claims that are told: as many as may wait.
const WAITERS_TOLD_MAX: u32 = 10_000;
/// Locks that are listed when it is not said how many.
const LOCKS_LISTED: u32 = 1000;
/// Most locks that are listed.
const LOCKS_LISTED_MAX: u32 = 10_000;

type Holders = names::Changed<Option<ClaimState>>;

#[derive(Debug)]
pub(in crate::rpc) struct LockService(pub(in crate::rpc) Arc<Services>);

impl LockService {
    async fn begin(
        &self,
        request: Request<wire::AcquireRequest>,
        waits: bool,
    ) -> Result<(Call, Begun), Failure> {
        let (call, conditions, request) = self.0.admit_write(request, |it| it.options.take())?;
        let mut acquire = asked(request)?;
        if !waits {
            acquire.wait = Wait::Never;
        }
        let begun = acquire::begin(&self.0, &call, conditions, acquire).await?;
        Ok((call, begun))
    }

    async fn acquire(
        &self,
        request: Request<wire::AcquireRequest>,
    ) -> Result<Responses<wire::AcquireResponse>, Failure> {
        let connection = request.extensions().get().cloned();
        let (call, begun) = self.begin(request, true).await?;
        let tell = Tell {
            waiting: queued_response,
            granted: granted_response,
        };
        responses(&self.0, call, begun, tell, connection)
    }

    async fn try_acquire(
        &self,
        request: Request<wire::AcquireRequest>,
    ) -> Result<Response<wire::TryAcquireResponse>, Failure> {
        let (_, begun) = self.begin(request, false).await?;
        let now = self.0.replica.cluster_time();
        let (revision, granted, holder) = match begun {
            Begun::Granted(held) => {
                last_look().await;
                let told = (held.revision, Some(granted(&self.0, &held)), None);
                held.told();
                told
            }
            Begun::Blocked(revision, holder) => (revision, None, holder.map(|it| *it)),
            // It waits by an earlier request of the same id, which is not this one's to change.
            Begun::Waiting(waiting) => (waiting.revision, None, waiting.blocker.clone()),
        };
        self.0.written(wire::TryAcquireResponse {
            header: Some(self.0.headers.own(revision)),
            granted,
            holder: holder.map(|holder| claim(holder, now)),
        })
    }

    async fn release(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<wire::ReleaseResponse, Failure> {
        let (call, conditions, request) = self.0.admit_write(request, |it| it.options.take())?;
        let release = Release {
            name: field::name(request.name)?,
            token: field::token(request.token)?,
        };
        let (revision, ()) = self.0.write(&call, conditions, 0, release).await?;
        Ok(wire::ReleaseResponse {
            header: Some(self.0.headers.own(revision)),
        })
    }

    async fn withdraw(
        &self,
        request: Request<wire::WithdrawRequest>,
    ) -> Result<wire::WithdrawResponse, Failure> {
        let (call, conditions, request) = self.0.admit_write(request, |it| it.options.take())?;
        let withdraw = Withdraw {
            name: field::name(request.name)?,
            lease: field::lease(request.lease)?,
            call: 0,
        };
        let (revision, withdrawn) = self.0.write(&call, conditions, 0, withdraw).await?;
        Ok(wire::WithdrawResponse {
            header: Some(self.0.headers.own(revision)),
            withdrawn,
        })
    }

    async fn transfer(
        &self,
        request: Request<wire::TransferRequest>,
    ) -> Result<Response<wire::TransferResponse>, Failure> {
        let (call, conditions, request) = self.0.admit_write(request, |it| it.options.take())?;
        let transfer = Transfer {
            name: field::name(request.name)?,
            token: field::token(request.token)?,
            to: field::lease(request.to_lease)?,
            principal: field::principal(request.principal)?,
        };
        let cost = request::PUT_OVERHEAD_BYTES;
        let (revision, held) = self.0.write(&call, conditions, cost, transfer).await?;
        self.0.written(wire::TransferResponse {
            header: Some(self.0.headers.own(revision)),
            claim: Some(claim(held, self.0.replica.cluster_time())),
        })
    }

    async fn check_token(
        &self,
        request: Request<wire::CheckTokenRequest>,
    ) -> Result<Response<wire::CheckTokenResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let freshness = Freshness::of(request.metadata())?;
        let wire::CheckTokenRequest { name, token } = request.into_inner();
        let (name, token) = (field::name(name)?, field::token(token)?);
        freshness.reach(&self.0, &call, false).await?;
        let read = |reader: &Reader<'_>| {
            let valid = reader.holds(&name, token)?;
            let holder = reader.holder(&name)?;
            let lease = holder.as_ref().map(|holder| reader.lease(holder.lease));
            let lease = lease.transpose()?.flatten();
            Ok((reader.meta().revision, valid, holder, lease))
        };
        let (revision, valid, holder, lease) = self.0.latest(read)?;
        let now = self.0.replica.cluster_time();
        let remaining = |lease: &Lease| self.0.remaining(lease);
        self.0.found(wire::CheckTokenResponse {
            header: Some(self.0.headers.own(revision)),
            valid,
            current_token: holder.as_ref().map_or(0, |holder| holder.token.0),
            holder: holder.map(|holder| claim(holder, now)),
            remaining_ms: lease.as_ref().map_or(Ttl(0), remaining).0,
        })
    }

    async fn watch_tokens(
        &self,
        request: Request<wire::WatchTokensRequest>,
    ) -> Result<Responses<wire::WatchTokensResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let names = field::names(request.into_inner().names, WATCHED_NAMES_MAX)?;
        let tell = |services: &Services, revision: Revision, changed: Holders| {
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
        names::follow(&self.0, call, names, names::TOKEN, tell).await
    }

    async fn inspect(
        &self,
        request: Request<wire::InspectRequest>,
    ) -> Result<Response<wire::InspectResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let freshness = Freshness::of(request.metadata())?;
        let wire::InspectRequest { name, limit } = request.into_inner();
        let name = field::name(name)?;
        let limit = limited(limit, WAITERS_TOLD, WAITERS_TOLD_MAX);
        freshness.reach(&self.0, &call, false).await?;
        let services = Arc::clone(&self.0);
        let read = move |reader: &Reader<'_>| {
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
        self.0.answer(&call, read).await
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let freshness = Freshness::of(request.metadata())?;
        let wire::ListRequest { prefix, limit } = request.into_inner();
        let limit = limited(limit, LOCKS_LISTED, LOCKS_LISTED_MAX);
        freshness.reach(&self.0, &call, false).await?;
        let services = Arc::clone(&self.0);
        let read = move |reader: &Reader<'_>| {
            let (found, more) = reader.claimed_names(&prefix, limit)?;
            Ok(wire::ListResponse {
                header: Some(services.headers.own(reader.meta().revision)),
                claims: claims(found, services.replica.cluster_time()),
                more,
            })
        };
        self.0.answer(&call, read).await
    }

    async fn force_release(
        &self,
        request: Request<wire::ForceReleaseRequest>,
    ) -> Result<Response<wire::ForceReleaseResponse>, Failure> {
        let (call, conditions, request) = self.0.admit_write(request, |it| it.options.take())?;
        let name = field::name(request.name)?;
        // Zero is every claim that holds.
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
            return Err(field::too_long(reason, bytes, JUSTIFICATION_BYTES_MAX));
        }
        let release = ForceRelease { name, token, why };
        let (revision, released) = self.0.write(&call, conditions, 0, release).await?;
        self.0.written(wire::ForceReleaseResponse {
            header: Some(self.0.headers.own(revision)),
            released: claims(released, self.0.replica.cluster_time()),
        })
    }
}

/// What a request asks for; it waits.
fn asked(request: wire::AcquireRequest) -> Result<Acquire, Failure> {
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

fn limited(asked: u32, standard: u32, max: u32) -> usize {
    let limit = if asked == 0 { standard } else { asked.min(max) };
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

#[tonic::async_trait]
impl Lock for LockService {
    type AcquireStream = Responses<wire::AcquireResponse>;
    type WatchTokensStream = Responses<wire::WatchTokensResponse>;

    async fn acquire(
        &self,
        request: Request<wire::AcquireRequest>,
    ) -> Result<Response<Self::AcquireStream>, Status> {
        let taker = Taker::of(&request);
        Ok(taker.response(&self.0, Self::acquire(self, request).await?))
    }

    async fn try_acquire(
        &self,
        request: Request<wire::AcquireRequest>,
    ) -> Result<Response<wire::TryAcquireResponse>, Status> {
        Ok(Self::try_acquire(self, request).await?)
    }

    async fn release(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseResponse>, Status> {
        Ok(Response::new(Self::release(self, request).await?))
    }

    async fn withdraw(
        &self,
        request: Request<wire::WithdrawRequest>,
    ) -> Result<Response<wire::WithdrawResponse>, Status> {
        Ok(Response::new(Self::withdraw(self, request).await?))
    }

    async fn transfer(
        &self,
        request: Request<wire::TransferRequest>,
    ) -> Result<Response<wire::TransferResponse>, Status> {
        Ok(Self::transfer(self, request).await?)
    }

    async fn check_token(
        &self,
        request: Request<wire::CheckTokenRequest>,
    ) -> Result<Response<wire::CheckTokenResponse>, Status> {
        Ok(Self::check_token(self, request).await?)
    }

    async fn watch_tokens(
        &self,
        request: Request<wire::WatchTokensRequest>,
    ) -> Result<Response<Self::WatchTokensStream>, Status> {
        let taker = Taker::of(&request);
        Ok(taker.response(&self.0, Self::watch_tokens(self, request).await?))
    }

    async fn inspect(
        &self,
        request: Request<wire::InspectRequest>,
    ) -> Result<Response<wire::InspectResponse>, Status> {
        Ok(Self::inspect(self, request).await?)
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        Ok(Self::list(self, request).await?)
    }

    async fn force_release(
        &self,
        request: Request<wire::ForceReleaseRequest>,
    ) -> Result<Response<wire::ForceReleaseResponse>, Status> {
        Ok(Self::force_release(self, request).await?)
    }
}

#[cfg(test)]
mod tests;

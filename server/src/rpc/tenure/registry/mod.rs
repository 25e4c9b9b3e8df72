//! The `Registry` service: instances register and report their readiness, clients discover and
//! watch them.

mod border;
mod endpoints;
mod record;
mod selector;

use std::sync::Arc;

use tenure_proto::v1::{self as wire, registry_server::Registry};
use tenure_statemachine::{Need, RangeQuery, ReadError, Reader, Revision, service_range};
use tonic::{Request, Response, Status};

use self::{
    endpoints::EndpointsStream,
    selector::{Selector, Tally},
};
use crate::{
    rpc::{
        admission::Permit,
        answer::{
            failure::Failure,
            outbox::{Responses, outbox},
        },
        border::{
            freshness::Freshness,
            request::{LEASE_COST_BYTES, PUT_OVERHEAD_BYTES},
        },
        call::Call,
        services::Services,
    },
    tasks,
};

/// Responses that may wait for the transport, beside their bound in bytes; a slow client gets
/// another snapshot.
const RESPONSES_WAITING_MAX: usize = 16;

#[derive(Debug)]
pub(in crate::rpc) struct RegistryService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Registry for RegistryService {
    type WatchEndpointsStream = Responses<wire::WatchEndpointsResponse>;

    async fn register(
        &self,
        request: Request<wire::RegisterRequest>,
    ) -> Result<Response<wire::RegisterResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let command = border::register(request)?;
        let stored = command.name.key().len() + command.instance.len();
        let lease = command.grant.map_or(0, |_| LEASE_COST_BYTES);
        let cost = stored as u64 + PUT_OVERHEAD_BYTES + lease;
        let (revision, registered) = self.0.write(&call, conditions, cost, command).await?;
        let (incarnation, lease, ttl) = registered;
        Ok(Response::new(wire::RegisterResponse {
            header: Some(self.0.headers.own(revision)),
            incarnation: incarnation.0,
            lease: lease.0,
            ttl_ms: ttl.0,
        }))
    }

    async fn set_readiness(
        &self,
        request: Request<wire::SetReadinessRequest>,
    ) -> Result<Response<wire::SetReadinessResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let set = border::set_readiness(request)?;
        let cost = PUT_OVERHEAD_BYTES;
        let header = self
            .0
            .write_for_header(&call, conditions, cost, set)
            .await?;
        Ok(Response::new(wire::SetReadinessResponse { header }))
    }

    async fn drain(
        &self,
        request: Request<wire::DrainRequest>,
    ) -> Result<Response<wire::DrainResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let drain = border::drain(request)?;
        // A drain has no cost, so that instances can leave when there is no space.
        let header = self.0.write_for_header(&call, conditions, 0, drain).await?;
        Ok(Response::new(wire::DrainResponse { header }))
    }

    async fn deregister(
        &self,
        request: Request<wire::DeregisterRequest>,
    ) -> Result<Response<wire::DeregisterResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let deregister = border::deregister(request)?;
        // No cost, as for a drain.
        let header = self
            .0
            .write_for_header(&call, conditions, 0, deregister)
            .await?;
        Ok(Response::new(wire::DeregisterResponse { header }))
    }

    async fn discover(
        &self,
        request: Request<wire::DiscoverRequest>,
    ) -> Result<Response<wire::DiscoverResponse>, Status> {
        let call = self.0.admit(&request)?;
        let freshness = Freshness::of(request.metadata())?;
        let wire::DiscoverRequest {
            service,
            selector,
            serializable,
            at_least_revision,
            max_staleness_ms,
        } = request.into_inner();
        let service = border::service(service)?;
        let selector = Selector::of(selector)?;
        let freshness = freshness.and(at_least_revision, max_staleness_ms)?;
        let permit = self.permit(&call, &service).await?;
        let age = freshness.reach(&self.0, &call, serializable).await?;
        let headers = self.0.headers.clone();
        let read = move |reader: &Reader<'_>| {
            permit.check(reader)?;
            let selected = selected(reader, &service, &selector)?;
            Ok(wire::DiscoverResponse {
                header: Some(headers.own(selected.revision)),
                registrations: selected.registrations,
                all: selected.all,
                age_ms: age.in_ms(),
            })
        };
        let answer = self.0.answer(&call, read).await?;
        age.check()?;
        Ok(age.annotate(&self.0, answer))
    }

    /// The first response is linearizable, or within the staleness that the metadata of the call
    /// allows.
    async fn watch_endpoints(
        &self,
        request: Request<wire::WatchEndpointsRequest>,
    ) -> Result<Response<Self::WatchEndpointsStream>, Status> {
        let call = self.0.admit(&request)?;
        let freshness = Freshness::of(request.metadata())?;
        let wire::WatchEndpointsRequest { service, selector } = request.into_inner();
        let service = border::service(service)?;
        let selector = Selector::of(selector)?;
        let permit = self.permit(&call, &service).await?;
        let serializable = freshness.bounds_age();
        freshness.reach(&self.0, &call, serializable).await?;
        let (sender, responses) = outbox(RESPONSES_WAITING_MAX);
        let stream = EndpointsStream::new(Arc::clone(&self.0), permit, (service, selector), sender);
        tasks::spawn("endpoints-stream", stream.run(self.0.stream_end(call)));
        Ok(Response::new(responses))
    }
}

impl RegistryService {
    /// The permission to read the instances of a service.
    async fn permit(&self, call: &Call, service: &str) -> Result<Permit, Failure> {
        self.0
            .permit(call, vec![Need::Read(service_range(service))])
            .await
    }
}

/// The instances of a service that a selector selects, at one revision.
#[derive(Debug)]
struct Selected {
    revision: Revision,
    registrations: Vec<wire::Registration>,
    /// Whether all were selected, whatever their readiness.
    all: bool,
    tally: Tally,
}

async fn select(
    services: &Services,
    permit: Permit,
    service: String,
    selector: Selector,
) -> Result<Selected, Failure> {
    let read = move |reader: &Reader<'_>| {
        permit.check(reader)?;
        selected(reader, &service, &selector)
    };
    services.latest_bulk(read).await
}

fn selected(
    reader: &Reader<'_>,
    service: &str,
    selector: &Selector,
) -> Result<Selected, ReadError> {
    let found = reader.range(&RangeQuery::latest(service_range(service)))?;
    let mut tally = Tally::default();
    let mut standing = Vec::with_capacity(found.kvs.len());
    for registration in found.kvs.iter().filter_map(record::registration) {
        let of = registration.instance.as_ref();
        let stands = of.map(|instance| selector.standing(instance));
        if let Some(stands) = stands {
            tally.add(stands);
            standing.push((stands, registration));
        }
    }
    let all = selector.takes_all(tally);
    standing.retain(|(standing, _)| standing.is_selected(all));
    Ok(Selected {
        revision: reader.meta().revision,
        registrations: standing.into_iter().map(|(_, found)| found).collect(),
        all,
        tally,
    })
}

#[cfg(test)]
mod tests;

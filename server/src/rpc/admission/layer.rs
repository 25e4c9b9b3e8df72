//! The layer that admits calls: it finds out who calls and checks what the method needs, before a
//! handler sees the request.
//!
//! Invariant: while authentication is enabled no request reaches a handler whose method needs a
//! user that the call does not have.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use http::{Request, Response};
use tenure_statemachine::{Need, ReadError, Reader, Refusal};
use tonic::Status;
use tower::{Layer, Service};

use super::{
    Caller,
    asked::asked,
    audit::{Act, Origin},
    catch_up::catch_up,
    identify::{identify, is_certified_gateway_call},
    table::{Method, MethodNeed},
};
use crate::{
    rpc::{
        answer::{failure::Failure, status::Reason},
        services::Services,
    },
    transport::ConnectionInfo,
};

/// Admits calls.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct AdmissionLayer(Arc<Services>);

impl AdmissionLayer {
    pub(in crate::rpc) const fn new(services: Arc<Services>) -> Self {
        Self(services)
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admitted<S>;

    fn layer(&self, inner: S) -> Admitted<S> {
        Admitted {
            services: Arc::clone(&self.0),
            inner,
        }
    }
}

/// A service that sees admitted calls only.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct Admitted<S> {
    services: Arc<Services>,
    inner: S,
}

impl<S, ResponseBody> Service<Request<Body>> for Admitted<S>
where
    S: Service<Request<Body>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ResponseBody: Default + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = Method::at(request.uri().path());
        let failure = match admit(&self.services, &request, method) {
            Ok(caller) => return pass(&self.services, &mut self.inner, request, method, caller),
            Err(failure) => failure,
        };
        // The clone takes the place of the service that is ready.
        let inner = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, inner);
        let services = Arc::clone(&self.services);
        Box::pin(async move {
            let admitted = match catch_up(services.replica.as_ref(), failure).await {
                Ok(()) => admit(&services, &request, method),
                Err(failure) => Err(failure),
            };
            match admitted {
                Ok(caller) => pass(&services, &mut ready, request, method, caller).await,
                Err(failure) => Ok(refuse(&services, request, method, failure).await),
            }
        })
    }
}

/// Hands an admitted request to its method, and writes the line about an act when that ends.
fn pass<S, ResponseBody>(
    services: &Services,
    inner: &mut S,
    mut request: Request<Body>,
    method: Option<Method>,
    caller: Caller,
) -> <Admitted<S> as Service<Request<Body>>>::Future
where
    S: Service<Request<Body>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ResponseBody: Default + Send + 'static,
{
    let method = method.filter(|method| method.need == MethodNeed::Act);
    let act = method.map(|method| (method, act_of(services, &request, method).by(&caller)));
    request.extensions_mut().insert(caller);
    let Some((method, act)) = act else {
        return Box::pin(inner.call(request));
    };
    // The clone takes the place of the service that is ready.
    let next = inner.clone();
    let mut ready = mem::replace(inner, next);
    Box::pin(async move {
        let (head, body) = request.into_parts();
        let (details, body) = asked(method, body).await;
        let act = act.about(details);
        let response = ready.call(Request::from_parts(head, body)).await?;
        act.end_by(response.headers());
        Ok(response)
    })
}

/// The response to a request that is not admitted; administration that is refused leaves a line.
async fn refuse<ResponseBody: Default>(
    services: &Services,
    request: Request<Body>,
    method: Option<Method>,
    failure: Failure,
) -> Response<ResponseBody> {
    if let Some(method) = method
        && matches!(method.need, MethodNeed::Admin | MethodNeed::Act)
    {
        let connection = request.extensions().get::<ConnectionInfo>();
        let caller = services.latest(|reader| {
            let now = services.replica.cluster_time();
            identify(&services.auth, now, reader, request.headers(), connection)
        });
        let act = act_of(services, &request, method);
        let act = act.by(&caller.unwrap_or(Caller::Nobody));
        let (details, _) = asked(method, request.into_body()).await;
        act.about(details).end::<()>(&Err(failure.clone()));
    }
    Status::from(failure).into_http()
}

/// The line about an act of a call.
fn act_of<B>(services: &Services, request: &Request<B>, method: Method) -> Act {
    let origin = Origin::of(request.extensions().get::<ConnectionInfo>());
    Act::new(&services.auth.audit, method.action(), &origin, Vec::new())
}

fn admit<B>(
    services: &Services,
    request: &Request<B>,
    method: Option<Method>,
) -> Result<Caller, Failure> {
    if !services.authenticates()? {
        return Ok(Caller::Nobody);
    }
    let connection = request.extensions().get::<ConnectionInfo>();
    if is_certified_gateway_call(&services.auth, request.headers(), connection) {
        return Err(Reason::CertificateIgnored.into());
    }
    let need = method.map(|method| method.need);
    if need == Some(MethodNeed::Open) {
        return Ok(Caller::Nobody);
    }
    let caller = services.latest(|reader| {
        let now = services.replica.cluster_time();
        match identify(&services.auth, now, reader, request.headers(), connection) {
            Err(ReadError::Refused(_)) if need == Some(MethodNeed::Stream) => Ok(Caller::BadToken),
            found => found,
        }
    })?;
    services.latest(|reader| check(services, reader, &caller, need))?;
    Ok(caller)
}

fn check(
    services: &Services,
    reader: &Reader<'_>,
    caller: &Caller,
    need: Option<MethodNeed>,
) -> Result<(), ReadError> {
    let needs: &[Need] = match need {
        Some(MethodNeed::Open | MethodNeed::Stream) => return Ok(()),
        Some(MethodNeed::GoodToken) if *caller == Caller::Nobody => return Ok(()),
        Some(MethodNeed::GoodToken) => &[],
        Some(MethodNeed::User) => &[Need::User],
        Some(MethodNeed::Admin | MethodNeed::Act) => &[Need::Admin],
        // No service has the method, and none will answer.
        None if !reader.meta().authenticates => return Ok(()),
        None => return Err(Refusal::PermissionDenied.into()),
    };
    services.gate.check(reader, caller, needs)
}

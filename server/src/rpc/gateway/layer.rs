//! The layer: which requests are the gateway's, and their way to the services and back.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::extract::Query;
use bytes::Bytes;
use futures::{
    TryFutureExt,
    future::{Either, MapOk, ready},
};
use http::{
    Extensions, HeaderMap, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE},
};
use http_body::Body;
use tower::{BoxError, Layer, Service};

use super::{
    Gateway, GatewayLayer, Serves,
    access::HOST_REFUSED,
    error::Told,
    headers,
    messages::{Form, Messages},
    request::{JsonBody, RequestBody, Source},
    response::{self, ResponseBody},
    routes::{Found, Route},
    websocket::{self, Handshake, SocketBody},
};
use crate::{tasks, transport::ConnectionInfo};

/// The media type of server-sent events.
const EVENTS: &str = "text/event-stream";
/// The parameter of a query that holds the messages of a request for events.
const QUERY_REQUEST: &str = "request";

/// What is told to those who call an address of gRPC with something else.
const NO_HTTP: &str = "this address serves gRPC alone; HTTP is at those of \
                       --listen-client-http-urls\n";

impl<S> Layer<S> for GatewayLayer {
    type Service = GatewayService<S>;

    fn layer(&self, inner: S) -> GatewayService<S> {
        GatewayService {
            inner,
            gateway: Arc::clone(&self.gateway),
            serves: self.serves,
        }
    }
}

/// The service of [`GatewayLayer`].
#[derive(Clone, Debug)]
pub struct GatewayService<S> {
    inner: S,
    gateway: Arc<Gateway>,
    serves: Serves,
}

type Answered<R, E> = Result<Response<ResponseBody<R>>, E>;
type Wrap<R> = fn(Response<R>) -> Response<ResponseBody<R>>;
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<S, B, R> Service<Request<B>> for GatewayService<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = Either<MapOk<S::Future, Wrap<R>>, Boxed<Answered<R, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_grpc = is_grpc(request.headers());
        let elsewhere = match self.serves {
            Serves::Http if is_grpc => Some(response::no_grpc()),
            Serves::Grpc if !is_grpc => Some(response::page(StatusCode::NOT_FOUND, NO_HTTP)),
            Serves::Both | Serves::Grpc | Serves::Http => None,
        };
        if let Some(elsewhere) = elsewhere {
            return Either::Right(Box::pin(ready(Ok(elsewhere))));
        }
        if is_grpc {
            let response = self.inner.call(request.map(RequestBody::plain));
            return Either::Left(response.map_ok(plain as Wrap<R>));
        }
        let access = &self.gateway.access;
        if !access.allows_host(request.uri(), request.headers()) {
            let refused = response::page(StatusCode::MISDIRECTED_REQUEST, HOST_REFUSED);
            return Either::Right(Box::pin(ready(Ok(refused))));
        }
        let shared = access.share(request.headers());
        let response = if access.is_shared() && request.method() == Method::OPTIONS {
            Box::pin(ready(Ok(response::page(StatusCode::OK, ""))))
        } else {
            self.answer(request)
        };
        if shared.is_empty() {
            return Either::Right(response);
        }
        Either::Right(Box::pin(response.map_ok(move |mut response| {
            response.headers_mut().extend(shared);
            response
        })))
    }
}

impl<S> GatewayService<S> {
    /// The response to a request that is not of gRPC.
    fn answer<B, R>(&mut self, request: Request<B>) -> Boxed<Answered<R, S::Error>>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>>,
        S::Error: Send + 'static,
        S::Future: Send + 'static,
        R: Body<Data = Bytes> + Send + Unpin + 'static,
        R::Error: Into<BoxError>,
    {
        let gateway = Arc::clone(&self.gateway);
        let path = request.uri().path();
        let routes = gateway.routes.as_ref();
        let route = match routes.map_or(Found::Elsewhere, |routes| routes.find(path)) {
            Found::Method(route) => route,
            Found::Nothing => return told(&Told::not_found()),
            Found::Elsewhere => {
                let response = self.inner.call(request.map(RequestBody::plain));
                return Box::pin(response.map_ok(|it| it.map(ResponseBody::plain)));
            }
        };
        if websocket::is_asked(&request) {
            return self.upgrade(route, request);
        }
        let form = form(route, request.headers());
        let query = match *request.method() {
            Method::POST => None,
            Method::GET if form == Form::Events => Some(messages_of(request.uri())),
            _ => return told(&Told::wrong_method()),
        };
        let (head, source) = request.into_parts();
        let body = match JsonBody::new(&gateway, route, &head, Source::Body(source), query) {
            Ok(body) => body,
            Err(failure) => {
                let failed = response::failed_with(form, &failure.into());
                return Box::pin(ready(Ok(failed)));
            }
        };
        let (refused, output) = (body.refused(), route.output);
        let metadata = headers::metadata(&head.headers);
        let response = self
            .inner
            .call(call(route, metadata, head.extensions, body));
        Box::pin(async move {
            let (head, body) = response.await?.into_parts();
            let messages = Messages::new(gateway, output, form, refused, body);
            Ok(response::of_call(&head.headers, messages).await)
        })
    }
}

impl<S> GatewayService<S> {
    /// Makes a WebSocket of the connection, and the call of `route` its call.
    fn upgrade<B, R>(&mut self, route: &Route, request: Request<B>) -> Boxed<Answered<R, S::Error>>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>>,
        S::Error: Send + 'static,
        S::Future: Send + 'static,
        R: Body<Data = Bytes> + Send + Unpin + 'static,
        R::Error: Into<BoxError>,
    {
        let gateway = Arc::clone(&self.gateway);
        let (head, _no_body) = request.into_parts();
        let handshake = match Handshake::new(&head.headers, &gateway.access) {
            Ok(handshake) => handshake,
            Err(refused) => return Box::pin(ready(Ok(*refused))),
        };
        let connection = head.extensions.get::<ConnectionInfo>();
        let Some(handover) = connection.and_then(ConnectionInfo::handover).cloned() else {
            return told(&Told::wrong_method());
        };
        let (objects, source) = SocketBody::channel();
        let body = JsonBody::new(&gateway, route, &head, Source::Socket(source), None);
        let body = match body {
            Ok(body) => body,
            Err(failure) => {
                let failed = response::failed_with(Form::Whole, &failure.into());
                return Box::pin(ready(Ok(failed)));
            }
        };
        let mut metadata = headers::metadata(&head.headers);
        handshake.authorize(&mut metadata);
        let refused = body.refused();
        let response = self
            .inner
            .call(call(route, metadata, head.extensions, body));
        let call = websocket::Call {
            response,
            gateway,
            route: route.clone(),
            refused,
        };
        let connection = handover.request();
        tasks::spawn("websocket", async move {
            websocket::serve(connection, objects, call).await;
        });
        Box::pin(ready(Ok(handshake.response())))
    }
}

/// The gRPC call of a request.
fn call<B>(
    route: &Route,
    metadata: HeaderMap,
    extensions: Extensions,
    body: JsonBody<B>,
) -> Request<RequestBody<B>> {
    let mut call = Request::new(RequestBody::json(body));
    *call.method_mut() = Method::POST;
    *call.uri_mut() = route.grpc.clone();
    *call.headers_mut() = metadata;
    *call.extensions_mut() = extensions;
    call
}

fn plain<R>(response: Response<R>) -> Response<ResponseBody<R>> {
    response.map(ResponseBody::plain)
}

fn told<R: Send + 'static, E: Send + 'static>(told: &Told) -> Boxed<Answered<R, E>> {
    Box::pin(ready(Ok(response::failed(Form::Whole, told))))
}

/// The form in which a call of `route` is answered.
fn form(route: &Route, headers: &HeaderMap) -> Form {
    let mut accepted = headers.get_all(ACCEPT).iter();
    let is_events = accepted.any(|it| {
        let text = it.to_str().unwrap_or_default();
        text.contains(EVENTS)
    });
    match (route.is_stream(), is_events) {
        (false, _) => Form::Whole,
        (true, false) => Form::Lines,
        (true, true) => Form::Events,
    }
}

/// The messages in the query of a request for events, which has no body: the sources of events in
/// browsers cannot send one.
fn messages_of(uri: &Uri) -> Bytes {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Bytes::new();
    };
    let messages = pairs.into_iter().filter(|(name, _)| name == QUERY_REQUEST);
    messages.map(|(_, text)| text).collect::<String>().into()
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests;

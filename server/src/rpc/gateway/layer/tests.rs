//! Tests of the way of a request to the services and back.

use std::convert::Infallible;

use http::{HeaderName, HeaderValue, Version};
use prost::Message as _;
use tenure_proto::etcdserverpb::{PutRequest, PutResponse};
use tonic::body::Body as TonicBody;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::{
    rpc::{
        answer::status::Reason,
        gateway::{Access, GatewayLayer},
    },
    share::Receiving,
};

/// All of a body.
async fn whole<B: Body<Data = Bytes> + Unpin>(mut body: B) -> Result<Bytes, String>
where
    B::Error: Into<BoxError>,
{
    let mut found = Vec::new();
    loop {
        let next = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        match next {
            Some(Ok(frame)) => found.extend(frame.into_data().unwrap_or_default()),
            Some(Err(error)) => return Err(error.into().to_string()),
            None => return Ok(found.into()),
        }
    }
}

/// A service that answers every put, and everything else with the path.
async fn serve(
    request: Request<RequestBody<TonicBody>>,
) -> Result<Response<TonicBody>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if path != "/etcdserverpb.KV/Put" {
        return Ok(Response::new(TonicBody::new(path)));
    }
    let Ok(message) = whole(body).await else {
        return Ok(tonic::Status::from(Reason::Stopped).into_http());
    };
    let put = PutRequest::decode(&message[5..]).expect("a message");
    if put.key.is_empty() {
        return Ok(tonic::Status::from(Reason::WriteTimedOut).into_http());
    }
    let message = PutResponse::default().encode_to_vec();
    let mut response = vec![0, 0, 0, 0, u8::try_from(message.len()).expect("short")];
    response.extend(message);
    let text = String::from_utf8(response).expect("zeros");
    Ok(Response::new(TonicBody::new(text)))
}

fn request(method: Method, path: &str, body: &'static str) -> Request<TonicBody> {
    let mut request = Request::new(TonicBody::new(body.to_owned()));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path");
    *request.version_mut() = Version::HTTP_11;
    request
}

async fn answer(
    is_enabled: bool,
    access: Access,
    request: Request<TonicBody>,
) -> (StatusCode, HeaderMap, String) {
    let layer = GatewayLayer::new(is_enabled, access, 1000, Receiving::default());
    let response = layer.layer(service_fn(serve)).oneshot(request).await;
    let (head, body) = response.expect("it does not fail").into_parts();
    let body = whole(body).await.expect("a body");
    let text = String::from_utf8(body.to_vec()).expect("text");
    (head.status, head.headers, text)
}

async fn post(path: &str, body: &'static str) -> (u16, String) {
    let request = request(Method::POST, path, body);
    let (status, _, text) = answer(true, Access::default(), request).await;
    (status.as_u16(), text)
}

#[tokio::test]
async fn json_is_answered_in_json_and_everything_else_goes_by() {
    assert_eq!(
        post("/v3/kv/put", r#"{"key":"YQ=="}"#).await,
        (200, "{}".to_owned())
    );
    let missing = r#"{"error":"Not Found","code":5,"message":"Not Found"}"#;
    assert_eq!(post("/v3/kv/puts", "{}").await, (404, missing.to_owned()));
    assert_eq!(post("/health", "").await, (200, "/health".to_owned()));
    let wrong = r#"{"error":"Method Not Allowed","code":12,"message":"Method Not Allowed"}"#;
    let get = request(Method::GET, "/v3/kv/put", "");
    let (status, _, text) = answer(true, Access::default(), get).await;
    assert_eq!((status.as_u16(), text.as_str()), (501, wrong));
    let off = request(Method::POST, "/v3/kv/put", "{}");
    let (_, _, text) = answer(false, Access::default(), off).await;
    assert_eq!(
        text, "/v3/kv/put",
        "switched off, the path is not the gateway's"
    );
    let mut grpc = request(Method::POST, "/v3/kv/put", "x");
    let kind = HeaderValue::from_static("application/grpc");
    grpc.headers_mut().insert(CONTENT_TYPE, kind);
    let (_, _, text) = answer(true, Access::default(), grpc).await;
    assert_eq!(text, "/v3/kv/put", "gRPC is not the gateway's");
}

#[tokio::test]
async fn failures_have_a_status_a_text_and_their_metadata() {
    let refused = post("/v3/kv/put", "{\"key\":7}").await;
    assert_eq!(refused.0, 400);
    let text = "the body is not the JSON of the request: field key: invalid type";
    assert!(refused.1.contains(text), "{}", refused.1);
    let empty = request(Method::POST, "/v3/kv/put", "");
    let (status, headers, text) = answer(true, Access::default(), empty).await;
    assert_eq!(status.as_u16(), 503);
    assert_eq!(
        headers.get("grpc-metadata-tenure-outcome"),
        Some(&"unknown".parse().unwrap())
    );
    assert!(text.contains(r#""code":14"#), "{text}");
    let mut brotli = request(Method::POST, "/v3/kv/put", "x");
    let encoding = HeaderName::from_static("content-encoding");
    brotli
        .headers_mut()
        .insert(encoding, HeaderValue::from_static("br"));
    let (status, _, text) = answer(true, Access::default(), brotli).await;
    assert_eq!(status.as_u16(), 400);
    assert!(text.contains(Reason::EncodingUnsupported.text()), "{text}");
}

#[tokio::test]
async fn browsers_are_told_who_may_read() {
    let access = || Access {
        origins: vec!["https://a.example".to_owned()],
        hosts: vec!["b.example".to_owned()],
    };
    let with = |method: Method, host: &'static str| {
        let mut request = request(method, "/health", "");
        let headers = request.headers_mut();
        headers.insert("host", HeaderValue::from_static(host));
        headers.insert("origin", HeaderValue::from_static("https://a.example"));
        request
    };
    let (status, headers, text) = answer(true, access(), with(Method::GET, "b.example")).await;
    assert_eq!((status.as_u16(), text.as_str()), (200, "/health"));
    let origin = headers.get("access-control-allow-origin");
    assert_eq!(origin, Some(&HeaderValue::from_static("https://a.example")));
    let (status, _, text) = answer(true, access(), with(Method::OPTIONS, "b.example")).await;
    assert_eq!((status.as_u16(), text.as_str()), (200, ""));
    let (status, _, text) = answer(false, access(), with(Method::GET, "c.example")).await;
    assert_eq!(status.as_u16(), 421);
    assert!(text.contains("--host-whitelist"), "{text}");
    let (_, headers, _) = answer(true, Access::default(), with(Method::GET, "c.example")).await;
    assert!(headers.get("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn events_are_asked_for_by_a_header_and_a_query() {
    let path = "/v3/watch?request=%7B%7D";
    let mut events = request(Method::GET, path, "");
    let kind = HeaderValue::from_static("text/html, text/event-stream");
    events.headers_mut().insert(ACCEPT, kind);
    let layer = GatewayLayer::new(true, Access::default(), 1000, Receiving::default());
    let echo = service_fn(async |request: Request<RequestBody<TonicBody>>| {
        assert_eq!(request.uri().path(), "/etcdserverpb.Watch/Watch");
        let body = whole(request.into_body()).await.expect("a body");
        let text = String::from_utf8(body.to_vec()).expect("zeros");
        Ok::<_, Infallible>(Response::new(TonicBody::new(text)))
    });
    let response = layer
        .layer(echo)
        .oneshot(events)
        .await
        .expect("it does not fail");
    let kind = response.headers().get(CONTENT_TYPE);
    assert_eq!(kind, Some(&HeaderValue::from_static("text/event-stream")));
    let text = whole(response.into_body()).await.expect("a body");
    assert_eq!(&text[..], b"data: {}\n\n");
    assert_eq!(
        messages_of(&Uri::from_static(
            "/?request=%7B%7D&x=y&request=%7B%22a%22:1%7D"
        )),
        "{}{\"a\":1}"
    );
}

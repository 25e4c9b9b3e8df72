//! The JSON gateway: the API as JSON over HTTP, for callers of etcd's gateway and for browsers.

mod beside_etcd;
mod browsers;
mod document;
mod hostile;
mod mapping;
mod streams;
mod websockets;

use serde_json::Value;
use tenure_testkit::{Http, HttpAnswer};

/// The response to a request, on a connection of its own.
async fn post(address: &str, path: &str, body: &str) -> HttpAnswer {
    let mut http = Http::connect(address).await.unwrap();
    http.post(path, body).await.unwrap()
}

/// The JSON of a response that must be one.
async fn found(address: &str, path: &str, body: &str) -> Value {
    let answer = post(address, path, body).await;
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
    json(&answer.body)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

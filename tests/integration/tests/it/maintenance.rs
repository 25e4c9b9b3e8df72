//! What a node says of its own size, and which requests its transport takes.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use prost::Message;
use tenure_proto::etcdserverpb::{CompactionRequest, PutRequest};
use tenure_testkit::{Cluster, STATE_MAX, wait_until};
use tonic::{
    Code,
    codegen::{Bytes, http::HeaderValue},
};

use crate::differential::{
    requests::{get, put},
    wire::{Answer, Call, Wire, frame},
};

#[tokio::test]
async fn an_empty_store_has_a_size_and_history_is_in_use_until_it_is_collected() {
    let cluster = Cluster::start(1).await;
    let calls = cluster.node(0).calls();
    let size = async || {
        let status = calls.status().await.unwrap();
        (status.db_size, status.db_size_in_use)
    };
    let (empty, in_use) = size().await;
    assert!(
        empty >= in_use && in_use > 0,
        "{empty} {in_use}: tools divide by them"
    );
    let value = "x".repeat(10_000);
    let mut revision = 0;
    for _ in 0..20 {
        revision = calls.put("often", &value).await.unwrap();
    }
    let (full, in_use) = size().await;
    assert!(in_use >= 200_000 && full >= in_use, "{full} {in_use}");
    let request = CompactionRequest {
        revision,
        physical: true,
    };
    calls.kv().compact(request).await.unwrap();
    wait_until("the history is gone", STATE_MAX, async || {
        let (_, in_use) = size().await;
        (in_use < 20_000).then_some(()).ok_or(in_use.to_string())
    })
    .await;
}

fn zipped(message: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message).unwrap();
    let mut framed = frame(&encoder.finish().unwrap()).to_vec();
    // The flag says that the message is compressed.
    framed[0] = 1;
    framed.into()
}

async fn ask(wire: &Wire, path: &str, message: &[u8]) -> Answer {
    let mut call = Call::new(path, zipped(message));
    call.metadata = vec![("grpc-encoding", HeaderValue::from_static("gzip"))];
    wire.call(&call).await
}

#[tokio::test]
async fn requests_in_gzip_are_served_and_may_not_inflate_beyond_the_limit() {
    let cluster = Cluster::start(1).await;
    let wire = Wire::to(cluster.node(0).address());
    let answer = ask(
        &wire,
        "/etcdserverpb.KV/Put",
        &put("a", "zipped").encode_to_vec(),
    )
    .await;
    assert_eq!(answer.code, Code::Ok, "{}", answer.text);
    let found = cluster.node(0).calls().get("a").await.unwrap().unwrap();
    assert_eq!(found.value, "zipped");
    for (bytes, code, text) in [
        (1 << 20, Code::Ok, ""),
        (
            1600 << 10,
            Code::InvalidArgument,
            "etcdserver: request is too large",
        ),
        (
            64 << 20,
            Code::ResourceExhausted,
            "grpc: received message larger than max",
        ),
    ] {
        let large = PutRequest {
            key: "large".into(),
            value: vec![b'x'; bytes].into(),
            ..PutRequest::default()
        };
        let answer = ask(&wire, "/etcdserverpb.KV/Put", &large.encode_to_vec()).await;
        assert_eq!(answer.code, code, "{bytes} bytes: {}", answer.text);
        assert!(answer.text.starts_with(text), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_call_may_carry_tens_of_kilobytes_of_metadata() {
    let cluster = Cluster::start(1).await;
    let wire = Wire::to(cluster.node(0).address());
    for bytes in [20 << 10, 100 << 10] {
        let mut call = Call::new("/etcdserverpb.KV/Range", frame(&get("a").encode_to_vec()));
        let value = HeaderValue::from_str(&"x".repeat(bytes)).unwrap();
        call.metadata = vec![("x-trace", value)];
        let answer = wire.call(&call).await;
        assert_eq!(answer.code, Code::Ok, "{bytes} bytes: {}", answer.text);
    }
}

#[tokio::test]
async fn a_node_with_a_smaller_quota_raises_its_alarm_whoever_admits_the_write() {
    let cluster = Cluster::builder(3)
        .node_flag(2, "--quota-backend-bytes", "1000000")
        .start()
        .await;
    let member = cluster.node(2).member_id().await;
    let value = "x".repeat(300_000);
    for number in 0..5 {
        let key = format!("k/{number}");
        let put = cluster.node(0).calls().put(&key, &value).await;
        if put.is_err() {
            break;
        }
    }
    wait_until("the alarm is raised", STATE_MAX, async || {
        let status = cluster.node(0).calls().status().await.unwrap();
        let expected = format!("memberID:{member} alarm:NOSPACE");
        let raised = status.errors.iter().any(|error| error.contains(&expected));
        raised.then_some(()).ok_or(format!("{:?}", status.errors))
    })
    .await;
    let refused = cluster.node(0).calls().put("k/more", "x").await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
}

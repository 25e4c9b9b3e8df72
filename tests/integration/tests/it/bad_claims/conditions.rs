//! Bad input to sessions and fences, and bad guards and request ids on any write.

use tenure_proto::{
    etcdserverpb::PutRequest,
    metadata::{GUARD_TEXT_METADATA, IDEMPOTENCY_KEY_METADATA, REQUEST_METADATA},
    v1::{CloseSessionRequest, OpenSessionRequest, Policy, RemovePolicyRequest, SetPolicyRequest},
};
use tonic::{Code, Request};

use super::{LOCK, Table, UNKNOWN};

pub(super) async fn sessions_and_fences(table: &mut Table) {
    let mut sessions = table.sessions.clone();
    let got = sessions.open(OpenSessionRequest::default()).await;
    table.invalid(
        "session without lease",
        got,
        "tenure: neither lease nor ttl",
    );
    let got = sessions
        .open(OpenSessionRequest {
            lease: UNKNOWN,
            ttl_ms: 0,
        })
        .await;
    table.refused(
        "session on an unknown lease",
        got,
        Code::NotFound,
        "etcdserver: requested lease",
    );
    let got = sessions
        .open(OpenSessionRequest {
            lease: 0,
            ttl_ms: 1,
        })
        .await;
    table.invalid("session with a tiny ttl", got, "tenure: ttl is too short");
    let got = sessions
        .close(CloseSessionRequest { session: UNKNOWN })
        .await;
    table.refused(
        "close of no session",
        got,
        Code::NotFound,
        "tenure: session not found",
    );
    let mut fences = table.fences.clone();
    let got = fences.set_policy(SetPolicyRequest::default()).await;
    table.invalid(
        "policy without policy",
        got,
        "tenure: policy is not provided",
    );
    let policy = |prefix: &str, lock: &str| SetPolicyRequest {
        policy: Some(Policy {
            prefix: prefix.to_owned().into(),
            lock: lock.to_owned().into(),
        }),
        options: None,
    };
    let got = fences.set_policy(policy("", LOCK)).await;
    table.invalid(
        "policy without prefix",
        got,
        "tenure: prefix is not provided",
    );
    let got = fences.set_policy(policy("p", "")).await;
    table.invalid("policy without lock", got, "tenure: name is not provided");
    let unknown = RemovePolicyRequest {
        prefix: "nothing".into(),
        options: None,
    };
    let got = fences.remove_policy(unknown).await;
    table.refused(
        "removal of no policy",
        got,
        Code::NotFound,
        "tenure: fence policy not found",
    );
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) async fn guards(table: &mut Table) {
    let token = table.token;
    let put = |key: &str, value: String| {
        let message = PutRequest {
            key: "k".into(),
            value: "v".into(),
            ..Default::default()
        };
        let mut request = Request::new(message);
        let key: tonic::metadata::MetadataKey<tonic::metadata::Ascii> = key.parse().unwrap();
        request.metadata_mut().append(key, value.parse().unwrap());
        request
    };
    let mut kv = table.calls.kv();
    let malformed = "tenure: guard is malformed";
    let stale = "tenure: guard is stale";
    for (value, code, text) in [
        (
            format!("{LOCK}={}", token - 1),
            Code::FailedPrecondition,
            stale,
        ),
        (
            format!("{LOCK}={}", token + 1),
            Code::FailedPrecondition,
            stale,
        ),
        (
            format!("{LOCK}={}", i64::MAX),
            Code::FailedPrecondition,
            stale,
        ),
        (format!("free={token}"), Code::FailedPrecondition, stale),
        (LOCK.to_owned(), Code::InvalidArgument, malformed),
        (format!("{LOCK}="), Code::InvalidArgument, malformed),
        (format!("={token}"), Code::InvalidArgument, malformed),
        (format!("{LOCK}=0"), Code::InvalidArgument, malformed),
        (format!("{LOCK}=-4"), Code::InvalidArgument, malformed),
        (format!("{LOCK}=four"), Code::InvalidArgument, malformed),
        (String::new(), Code::InvalidArgument, malformed),
    ] {
        let got = kv.put(put(GUARD_TEXT_METADATA, value.clone())).await;
        table.refused(&format!("guard {value:?}"), got, code, text);
    }
    let mut many = put(GUARD_TEXT_METADATA, format!("{LOCK}={token}"));
    for number in 0..20 {
        let value = format!("{LOCK}{number}={token}").parse().unwrap();
        many.metadata_mut().append(GUARD_TEXT_METADATA, value);
    }
    table.invalid(
        "twenty guards",
        kv.put(many).await,
        "tenure: too many guards",
    );
    let malformed = "tenure: request id is malformed";
    for value in [
        "", "1", "1.2", "x.1.0", "1.0.0", "1.1.1", "1.2.3.4", "1.-1.0",
    ] {
        let got = kv.put(put(REQUEST_METADATA, value.to_owned())).await;
        table.invalid(&format!("request id {value:?}"), got, malformed);
    }
    let got = kv
        .put(put(REQUEST_METADATA, format!("{UNKNOWN:x}.1.0")))
        .await;
    table.refused(
        "request of no session",
        got,
        Code::NotFound,
        "tenure: session not found",
    );
    let got = kv.put(put(IDEMPOTENCY_KEY_METADATA, "k".repeat(300))).await;
    table.invalid("huge idempotency key", got, "tenure: ");
}

//! Bad input to sessions and fences, and bad guards and request ids on any write.

use tenure_proto::{
    metadata::{GUARD_TEXT_METADATA, IDEMPOTENCY_KEY_METADATA, REQUEST_METADATA},
    v1::{CloseSessionRequest, OpenSessionRequest, Policy, RemovePolicyRequest, SetPolicyRequest},
};
use tonic::Code;

use super::{LOCK, NO_NAME, NO_TTL, SHORT_TTL, UNKNOWN, stale};
use crate::{
    bad_input::case::{Case, cases},
    differential::{known::LEASE_NOT_FOUND, requests::put},
};

const NO_SESSION: &str = "tenure: session not found: 0000000000000063";

pub(super) fn cases(token: i64) -> Vec<Case> {
    let mut cases = sessions();
    cases.extend(policies());
    cases.extend(guards(token));
    cases.extend(request_ids());
    cases
}

fn sessions() -> Vec<Case> {
    let open = |lease, ttl_ms| OpenSessionRequest { lease, ttl_ms };
    let close = CloseSessionRequest { session: UNKNOWN };
    cases! {
        "session without lease": open(0, 0) => InvalidArgument, NO_TTL;
        "session on an unknown lease": open(UNKNOWN, 0) => NotFound, LEASE_NOT_FOUND;
        "session with a tiny ttl": open(0, 1) => InvalidArgument, SHORT_TTL;
        "close of no session": close => NotFound, NO_SESSION;
    }
}

fn policies() -> Vec<Case> {
    let policy = |prefix: &'static str, lock: &'static str| SetPolicyRequest {
        policy: Some(Policy {
            prefix: prefix.into(),
            lock: lock.into(),
        }),
        options: None,
    };
    let remove = RemovePolicyRequest {
        prefix: "nothing".into(),
        options: None,
    };
    cases! {
        "policy without policy": SetPolicyRequest::default() => InvalidArgument,
            "tenure: policy is not provided";
        "policy without prefix": policy("", LOCK) => InvalidArgument,
            "tenure: prefix is not provided";
        "policy without lock": policy("p", "") => InvalidArgument, NO_NAME;
        "removal of no policy": remove => NotFound, "tenure: fence policy not found";
    }
}

/// A put with a line of metadata, which is refused.
fn put_with(name: &'static str, value: &str, code: Code, text: &str) -> Case {
    let what = format!("put with {name} {value:?}");
    Case::refused(what, &put("k", "v"), code, text).with_metadata(name, value)
}

fn guards(token: i64) -> Vec<Case> {
    let mut cases = Vec::new();
    for (lock, yours, current) in [
        (LOCK, token - 1, token),
        (LOCK, token + 1, token),
        (LOCK, i64::MAX, token),
        ("free", token, 0),
    ] {
        let guard = format!("{lock}={yours}");
        let text = stale("guard is stale", lock, yours, current);
        let code = Code::FailedPrecondition;
        cases.push(put_with(GUARD_TEXT_METADATA, &guard, code, &text));
    }
    for (guard, what) in [
        ("lock", "\"lock\" is not NAME=TOKEN"),
        ("lock=", "\"lock=\" is not NAME=TOKEN"),
        ("=4", "name is not provided"),
        ("lock=0", "token of \"lock\" is 0, tokens are positive"),
        ("lock=-4", "\"lock=-4\" is not NAME=TOKEN"),
        ("lock=four", "\"lock=four\" is not NAME=TOKEN"),
        ("", "\"\" is not NAME=TOKEN"),
    ] {
        let text = format!("tenure: guard is malformed: {what}");
        let code = Code::InvalidArgument;
        cases.push(put_with(GUARD_TEXT_METADATA, guard, code, &text));
    }
    let text = "tenure: too many guards: at most 16";
    let good = format!("{LOCK}={token}");
    let many = Case::invalid("twenty guards beside a good one", &put("k", "v"), text)
        .with_metadata(GUARD_TEXT_METADATA, &good);
    cases.push((0..20).fold(many, |many, number| {
        many.with_metadata(GUARD_TEXT_METADATA, &format!("{LOCK}{number}={token}"))
    }));
    cases
}

fn request_ids() -> Vec<Case> {
    let malformed = |name, value: &str, what: &str| {
        let text = format!("tenure: request id is malformed: {what}");
        put_with(name, value, Code::InvalidArgument, &text)
    };
    let mut cases = Vec::new();
    for id in ["", "1", "1.2", "x.1.0", "1.2.3.4", "1.-1.0"] {
        let what = format!("\"{id}\" is not SESSION.SEQUENCE.ANSWERED");
        cases.push(malformed(REQUEST_METADATA, id, &what));
    }
    for (id, what) in [
        ("1.0.0", "sequence is 0, the first is 1"),
        ("1.1.1", "1 is said to be answered, before request 1 is"),
    ] {
        cases.push(malformed(REQUEST_METADATA, id, what));
    }
    let (id, code) = (format!("{UNKNOWN:x}.1.0"), Code::NotFound);
    cases.push(put_with(REQUEST_METADATA, &id, code, NO_SESSION));
    let what = "idempotency key is too long: 300 bytes, at most 256";
    cases.push(malformed(IDEMPOTENCY_KEY_METADATA, &"k".repeat(300), what));
    cases
}

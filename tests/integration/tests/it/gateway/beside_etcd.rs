//! The same requests to etcd's gateway and to ours: what they answer is the same.

use serde_json::Value;
use tenure_testkit::{Cluster, Etcd};

use super::{json, post};

/// A request, by path and body.
type Ask = (&'static str, &'static str);

/// Requests in an order in which each finds what the ones before it left.
const CALLS: &[Ask] = &[
    ("kv/put", r#"{"key":"YQ==","value":"MQ=="}"#),
    ("kv/put", r#"{"key":"YQ==","value":"Mg==","prev_kv":true}"#),
    ("kv/put", r#"{"key":"Yg==","value":"Mw==","lease":null}"#),
    ("kv/range", r#"{"key":"YQ=="}"#),
    (
        "kv/range",
        r#"{"key":"YQ==","range_end":"AA==","limit":"1"}"#,
    ),
    (
        "kv/range",
        r#"{"key":"YQ==","rangeEnd":"AA==","sortOrder":"DESCEND","sortTarget":1}"#,
    ),
    (
        "kv/range",
        r#"{"key":"YQ==","count_only":true,"serializable":true}"#,
    ),
    (
        "kv/range",
        r#"{"key":"eA==","unknown":{"a":[1,{"b":null}]}}"#,
    ),
    (
        "kv/txn",
        r#"{"compare":[{"key":"YQ==","target":"CREATE","create_revision":"2"}],
            "success":[{"request_range":{"key":"YQ=="}},{"requestPut":{"key":"Yw=="}}],
            "failure":[{"request_delete_range":{"key":"YQ=="}}]}"#,
    ),
    (
        "kv/txn",
        r#"{"compare":[{"result":"GREATER","target":"VERSION","key":"YQ==","version":9}],
            "failure":[{"requestDeleteRange":{"key":"Yw==","prevKv":true}}]}"#,
    ),
    ("kv/deleterange", r#"{"key":"Yg==","prev_kv":true}"#),
    ("kv/deleterange", r#"{"key":"Yg=="}"#),
    ("kv/compaction", r#"{"revision":"3"}"#),
    ("lease/grant", r#"{"ID":"7","TTL":"100"}"#),
    ("lease/grant", r#"{"ID":8,"TTL":100}"#),
    ("kv/put", r#"{"key":"bA==","lease":"7"}"#),
    ("lease/keepalive", r#"{"ID":"7"}"#),
    ("lease/keepalive", r#"{"ID":"7"} {"ID":77}"#),
    ("lease/leases", ""),
    ("kv/lease/leases", "{}"),
    ("kv/lease/revoke", r#"{"ID":"8"}"#),
    ("lock/lock", r#"{"name":"bG9jaw==","lease":"7"}"#),
    ("lock/unlock", r#"{"key":"bG9jay83"}"#),
    (
        "election/campaign",
        r#"{"name":"ZQ==","lease":"7","value":"dg=="}"#,
    ),
    ("election/leader", r#"{"name":"ZQ=="}"#),
    (
        "election/resign",
        r#"{"leader":{"name":"ZQ==","key":"ZS83","rev":"11","lease":"7"}}"#,
    ),
    ("lease/revoke", r#"{"ID":"7"}"#),
    ("maintenance/defragment", "{}"),
];

/// Requests that are refused, with the same texts and statuses.
const REFUSED: &[Ask] = &[
    ("kv/range", "{}"),
    ("kv/range", ""),
    ("kv/put", r#"{"value":"MQ=="}"#),
    ("kv/put", r#"{"key":"YQ==","lease":"77"}"#),
    ("kv/range", r#"{"key":"YQ==","revision":"99"}"#),
    ("kv/range", r#"{"key":"YQ==","revision":"1"}"#),
    ("kv/compaction", r#"{"revision":"99"}"#),
    (
        "kv/txn",
        r#"{"success":[{"requestPut":{"key":"YQ=="}},{"requestPut":{"key":"YQ=="}}]}"#,
    ),
    ("lease/revoke", r#"{"ID":"77"}"#),
    ("lease/grant", r#"{"TTL":"9999999999999"}"#),
    ("election/leader", r#"{"name":"bm9uZQ=="}"#),
    ("election/proclaim", "{}"),
    ("election/resign", "{}"),
    ("auth/authenticate", r#"{"name":"root","password":"x"}"#),
];

/// Leaves out what differs between any two clusters.
pub(super) fn without_identity(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["cluster_id", "member_id", "raft_term"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(without_identity);
        }
        Value::Array(items) => items.iter_mut().for_each(without_identity),
        _ => {}
    }
}

/// The lines of a response, without what differs between any two clusters.
async fn lines(address: &str, (path, body): Ask) -> (u16, Vec<Value>) {
    let answer = post(address, &format!("/v3/{path}"), body).await;
    let lines = answer.body.lines().map(|line| {
        let mut line = json(line);
        without_identity(&mut line);
        line
    });
    (answer.status, lines.collect())
}

#[tokio::test]
async fn every_call_is_answered_as_by_etcd() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let cluster = Cluster::start(1).await;
    let ours = cluster.node(0).address();
    for ask in CALLS {
        let expected = lines(etcd.address(), *ask).await;
        assert_eq!(expected.0, 200, "{ask:?}: {expected:?}");
        assert_eq!(lines(ours, *ask).await, expected, "{ask:?}");
    }
}

#[tokio::test]
async fn refusals_have_the_status_and_the_texts_of_etcd() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let cluster = Cluster::start(1).await;
    let ours = cluster.node(0).address();
    for address in [etcd.address(), ours] {
        for ask in &CALLS[..13] {
            lines(address, *ask).await;
        }
    }
    for ask in REFUSED {
        let (mut status, expected) = lines(etcd.address(), *ask).await;
        if status == 412 {
            // Of 3.4; later gateways map the code of a failed precondition otherwise.
            status = 400;
        }
        assert_eq!(lines(ours, *ask).await, (status, expected), "{ask:?}");
    }
}

/// Paths whose answers are about the cluster itself, and a field that each has.
const OF_THE_CLUSTER: &[(&str, &str, &str)] = &[
    ("cluster/member/list", "{}", "members"),
    ("maintenance/status", "{}", "raftAppliedIndex"),
    ("maintenance/hash", "{}", "hash"),
    ("maintenance/alarm", "{}", ""),
    ("lease/timetolive", r#"{"ID":"7","keys":true}"#, "TTL"),
    ("kv/lease/timetolive", r#"{"ID":"7"}"#, "TTL"),
];

#[tokio::test]
async fn answers_about_the_cluster_have_the_fields_of_etcd() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let cluster = Cluster::start(1).await;
    for (path, body, field) in OF_THE_CLUSTER {
        for address in [etcd.address(), cluster.node(0).address()] {
            let (status, lines) = lines(address, (path, body)).await;
            assert_eq!(status, 200, "{path}: {lines:?}");
            assert!(
                field.is_empty() || !lines[0][field].is_null(),
                "{path}: {lines:?}"
            );
        }
    }
}

/// Paths that etcd 3.4 does not have, or that change the cluster: they lead to their methods.
const OTHERS: &[&str] = &[
    "cluster/member/add",
    "cluster/member/remove",
    "cluster/member/update",
    "cluster/member/promote",
    "maintenance/hashkv",
    "maintenance/transfer-leadership",
    "maintenance/downgrade",
    "auth/enable",
    "auth/disable",
    "auth/status",
    "auth/user/add",
    "auth/user/get",
    "auth/user/list",
    "auth/user/delete",
    "auth/user/changepw",
    "auth/user/grant",
    "auth/user/revoke",
    "auth/role/add",
    "auth/role/get",
    "auth/role/list",
    "auth/role/delete",
    "auth/role/grant",
    "auth/role/revoke",
];

#[tokio::test]
async fn every_other_path_leads_to_its_method() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    for path in OTHERS {
        for prefix in ["/v3/", "/v3beta/"] {
            let answer = post(address, &format!("{prefix}{path}"), "{}").await;
            assert!(
                !answer.body.contains("Not Found"),
                "{path}: {}",
                answer.body
            );
            let body = json(&answer.body);
            let is_answer = !body["header"].is_null() || body["error"] == body["message"];
            assert!(is_answer, "{path}: {body}");
        }
    }
    let answer = post(address, "/v3alpha/kv/range", "{}").await;
    assert_eq!(
        (answer.status, &*answer.body),
        (404, "404 page not found\n")
    );
    let answer = post(address, "/v3/kv/ranges", "{}").await;
    let expected = r#"{"error":"Not Found","code":5,"message":"Not Found"}"#;
    assert_eq!((answer.status, &*answer.body), (404, expected));
}

//! The mapping of requests: every spelling that callers use, and what is refused.

use tenure_testkit::{Cluster, Http};

use super::{found, json, post};

#[tokio::test]
async fn every_spelling_that_callers_use_is_understood() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    // The value is two bytes that the alphabets of base64 write differently.
    for value in ["+/8=", "+/8", "-_8=", "-_8", "+\\/8=", "+/8\\u003d"] {
        let put = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
        found(address, "/v3/kv/put", &put).await;
        let range = found(address, "/v3/kv/range", r#"{"key":"YQ"}"#).await;
        assert_eq!(range["kvs"][0]["value"], "+/8=", "{value}");
    }
    for revision in ["2", "\"2\"", "2.0", "\"2.0\"", "2e0"] {
        let range = format!(r#"{{"key":"YQ==","revision":{revision}}}"#);
        let range = found(address, "/v3/kv/range", &range).await;
        assert_eq!(range["kvs"][0]["mod_revision"], "2", "{revision}");
    }
    for target in ["\"MOD\"", "3", "3.0", "null", "\"NEW_TARGET\""] {
        let range = format!(r#"{{"key":"YQ==","sort_target":{target}}}"#);
        let range = found(address, "/v3/kv/range", &range).await;
        assert_eq!(range["count"], "1", "{target}");
    }
    for body in ["", "{}", " \n", "{\"limit\":null}"] {
        let leases = found(address, "/v3/lease/leases", body).await;
        assert!(leases["header"]["raft_term"].is_string(), "{leases}");
        assert!(
            leases["leases"].is_null(),
            "an empty list is left out: {leases}"
        );
    }
}

#[tokio::test]
async fn numbers_keep_every_digit_and_defaults_are_left_out() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    let id = i64::MAX.to_string();
    for written in [id.clone(), format!("\"{id}\"")] {
        let grant = format!(r#"{{"ID":{written},"TTL":60}}"#);
        assert_eq!(found(address, "/v3/lease/grant", &grant).await["ID"], *id);
        let revoke = format!(r#"{{"ID":{written}}}"#);
        found(address, "/v3/lease/revoke", &revoke).await;
    }
    let renewed = format!(r#"{{"ID":"{id}"}}"#);
    let renewed = found(address, "/v3/lease/keepalive", &renewed).await;
    assert!(renewed["result"]["TTL"].is_null(), "{renewed}");
    let hash = found(address, "/v3/maintenance/hashkv", "{}").await;
    assert!(hash["hash"].is_u64(), "{hash}");
    let range = found(address, "/v3/kv/range", r#"{"key":"YQ=="}"#).await;
    let fields: Vec<_> = range.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["header"]);
}

#[tokio::test]
async fn what_is_not_understood_is_refused_by_name_and_the_connection_goes_on() {
    let cluster = Cluster::start(1).await;
    let mut http = Http::connect(cluster.node(0).address()).await.unwrap();
    for (body, cause) in [
        (r#"{"key":7}"#, "field key: "),
        (r#"{"key":"!"}"#, "field key: "),
        (r#"{"key":"YQ==","revision":"x"}"#, "field revision: "),
        (r#"{"key":"YQ==","revision":1.5}"#, "field revision: "),
        (
            r#"{"key":"YQ==","revision":9223372036854775808}"#,
            "field revision: ",
        ),
        (
            r#"{"key":"YQ==","serializable":"true"}"#,
            "field serializable: ",
        ),
        (r#"{"key":"YQ==","key":"Yg=="}"#, "field key: given twice"),
        (r#"{"key":"YQ=="}{}"#, "more than one object"),
        (r#"{"key":"YQ==""#, "ends within an object"),
        ("{'key':1}", "key must be a string"),
        ("[]", "expected an object"),
        ("7", "expected an object"),
        ("\u{1f600}", "expected an object"),
    ] {
        let answer = http.post("/v3/kv/range", body).await.unwrap();
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        let told = json(&answer.body);
        assert_eq!(told["code"], 3);
        assert_eq!(told["error"], told["message"]);
        let text = told["error"].as_str().unwrap();
        assert!(text.contains(cause), "{body}: {text}");
        let good = http
            .post("/v3/kv/range", r#"{"key":"YQ=="}"#)
            .await
            .unwrap();
        assert_eq!(good.status, 200, "after {body}: {}", good.body);
    }
}

#[tokio::test]
async fn headers_become_metadata_and_metadata_headers() {
    let mut cluster = Cluster::start(3).await;
    let address = cluster.node(0).address().to_owned();
    let mut http = Http::connect(&address).await.unwrap();
    let put = br#"{"key":"YQ==","value":"MQ=="}"#;
    let guarded = [("grpc-metadata-tenure-guard", "jobs/42=7")];
    let answer = http.ask("POST", "/v3/kv/put", &guarded, put).await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        answer.body.contains("tenure: guard is stale"),
        "{}",
        answer.body
    );
    assert_eq!(
        answer.header("grpc-metadata-tenure-reason"),
        Some("GuardStale")
    );
    let answer = http.post("/v3/kv/put", r#"{"key":"YQ=="}"#).await.unwrap();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        answer.header("grpc-metadata-content-type"),
        Some("application/grpc")
    );
    assert_eq!(answer.header("access-control-allow-origin"), None);

    cluster.node_mut(1).kill9();
    cluster.node_mut(2).kill9();
    let soon = [("grpc-timeout", "300m")];
    let answer = http.ask("POST", "/v3/kv/put", &soon, put).await.unwrap();
    let is_late = answer.status == 504 && answer.body.contains("context deadline exceeded");
    let is_leaderless = answer.status == 503 && answer.body.contains("etcdserver: no leader");
    assert!(is_late || is_leaderless, "{}", answer.body);
    if is_late {
        assert_eq!(
            answer.header("grpc-metadata-tenure-outcome"),
            Some("unknown")
        );
    }
}

#[tokio::test]
async fn tenures_own_services_have_paths_of_their_own() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    let acquire = r#"{"names":["am9icy80Mg=="],"ttl_ms":"60000","principal":"w"}"#;
    let granted = post(address, "/v1/lock/acquire", acquire).await;
    assert_eq!(granted.status, 200, "{}", granted.body);
    let granted = json(&granted.body);
    let claim = &granted["result"]["granted"]["claims"][0];
    assert_eq!(claim["held"], true, "{granted}");
    let token = claim["token"].as_str().unwrap();
    let check = format!(r#"{{"name":"am9icy80Mg==","token":"{token}"}}"#);
    let checked = found(address, "/v1/lock/check-token", &check).await;
    assert_eq!(checked["valid"], true, "{checked}");
    let register = r#"{"instance":{"service":"api","id":"a","readiness":"READY",
        "endpoints":[{"protocol":"http","host":"h","port":80}],"metadata":{"zone":"1"}},
        "ttl_ms":"60000"}"#;
    found(address, "/v1/registry/register", register).await;
    let discovered = found(address, "/v1/registry/discover", r#"{"service":"api"}"#).await;
    let instance = &discovered["registrations"][0]["instance"];
    assert_eq!(instance["endpoints"][0]["port"], 80, "{discovered}");
    assert_eq!(instance["metadata"]["zone"], "1", "{discovered}");
    assert_eq!(instance["readiness"], "READY", "{discovered}");
}

#[tokio::test]
async fn a_large_answer_is_whole_and_gzip_is_read() {
    use std::io::Write as _;

    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    let value = "A".repeat(400_000);
    for letter in 'a'..='j' {
        let put = format!(r#"{{"key":"YWF{letter}","value":"{value}"}}"#);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(put.as_bytes()).unwrap();
        let body = encoder.finish().unwrap();
        let mut http = Http::connect(address).await.unwrap();
        let gzip = [("content-encoding", "gzip")];
        let answer = http.ask("POST", "/v3/kv/put", &gzip, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let range = found(
        address,
        "/v3/kv/range",
        r#"{"key":"AA==","range_end":"AA=="}"#,
    )
    .await;
    let kvs = range["kvs"].as_array().unwrap();
    assert_eq!(kvs.len(), 10);
    assert!(kvs.iter().all(|kv| kv["value"] == *value));
}

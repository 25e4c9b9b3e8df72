//! Tokens: of other passwords, other users, other clusters, in other headers.

use tenure_proto::etcdserverpb::{AuthUserDeleteRequest, RangeRequest};
use tenure_testkit::Http;
use tonic::{Request, Status};

use super::{
    super::setup::{PASSWORD, User, Users},
    BAD_TOKEN, NOBODY, refused,
};

async fn get_with(user: &User, headers: &[(&'static str, &str)]) -> Result<(), Status> {
    let get = RangeRequest {
        key: "a/1".into(),
        ..RangeRequest::default()
    };
    let mut request = Request::new(get);
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    user.kv().range(request).await.map(drop)
}

#[tokio::test]
async fn a_token_of_a_deleted_user_is_not_one_of_a_later_user_of_the_name() {
    let users = Users::start(1).await;
    let root = users.user("root").await;
    root.add_user("twice").await;
    root.grant_role("twice", "reader").await;
    let token = users.token("twice").await;
    let nobody = users.nobody();
    get_with(&nobody, &[("token", &token)]).await.unwrap();
    let name = "twice".to_owned();
    root.auth()
        .user_delete(AuthUserDeleteRequest { name })
        .await
        .unwrap();
    refused(get_with(&nobody, &[("token", &token)]).await, BAD_TOKEN);
    // The same name, role and password.
    root.add_user("twice").await;
    root.grant_role("twice", "reader").await;
    refused(get_with(&nobody, &[("token", &token)]).await, BAD_TOKEN);
    let token = users.token("twice").await;
    get_with(&nobody, &[("token", &token)]).await.unwrap();
    // Nor after a password that is set back.
    root.set_password("twice", "another").await;
    root.set_password("twice", PASSWORD).await;
    refused(get_with(&nobody, &[("token", &token)]).await, BAD_TOKEN);
}

#[tokio::test]
async fn a_token_that_was_altered_or_is_of_another_cluster_is_not_good() {
    let users = Users::start(1).await;
    let others = Users::start(1).await;
    let (token, foreign) = (users.token("reader").await, others.token("reader").await);
    let nobody = users.nobody();
    refused(get_with(&nobody, &[("token", &foreign)]).await, BAD_TOKEN);
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(bytes).unwrap();
        refused(get_with(&nobody, &[("token", &altered)]).await, BAD_TOKEN);
    }
    for cut in [&token[1..], &token[..token.len() - 1], "", "."] {
        refused(get_with(&nobody, &[("token", cut)]).await, BAD_TOKEN);
    }
    let longer = format!("{token}A");
    refused(get_with(&nobody, &[("token", &longer)]).await, BAD_TOKEN);
    let huge = "x".repeat(8_000);
    refused(get_with(&nobody, &[("token", &huge)]).await, BAD_TOKEN);
}

#[tokio::test]
async fn of_several_tokens_the_first_counts_and_a_bad_one_is_not_passed_over() {
    let users = Users::start(1).await;
    let (reader, guest) = (users.token("reader").await, users.token("guest").await);
    let nobody = users.nobody();
    let bearer = format!("Bearer {reader}");
    for good in [
        &[("authorization", reader.as_str())][..],
        &[("authorization", &bearer)],
        &[("token", &reader), ("token", "nonsense")],
        &[("token", &reader), ("authorization", &guest)],
    ] {
        get_with(&nobody, good).await.unwrap();
    }
    for bad in [
        &[("token", "nonsense"), ("token", reader.as_str())][..],
        &[("token", "nonsense"), ("authorization", &reader)],
        &[("token", ""), ("authorization", &reader)],
        &[("authorization", "Basic cmVhZGVyOng=")],
    ] {
        refused(get_with(&nobody, bad).await, BAD_TOKEN);
    }
    let both = [("token", guest.as_str()), ("authorization", &reader)];
    refused(
        get_with(&nobody, &both).await,
        "etcdserver: permission denied",
    );
    // Names of users in headers are of no meaning.
    for made_up in [
        &[("username", "root")][..],
        &[("user", "root")],
        &[("tenure-user", "root")],
        &[("x-forwarded-user", "root")],
        &[("grpcgateway-authorization", &reader)],
    ] {
        refused(get_with(&nobody, made_up).await, NOBODY);
    }
}

#[tokio::test]
async fn the_gateway_knows_a_user_by_the_token_in_its_header_and_by_nothing_else() {
    let users = Users::start(1).await;
    let address = users.cluster.node(0).address().to_owned();
    let ask = async |path: &str, headers: &[(&str, &str)], body: &str| {
        let mut http = Http::connect(&address).await.unwrap();
        let answer = http.ask("POST", path, headers, body.as_bytes()).await;
        let answer = answer.unwrap();
        (answer.status, answer.body)
    };
    let credentials = format!(r#"{{"name":"reader","password":"{PASSWORD}"}}"#);
    let (status, body) = ask("/v3/auth/authenticate", &[], &credentials).await;
    assert_eq!(status, 200, "{body}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let token = body["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let get = r#"{"key":"YS8x"}"#;
    for headers in [
        [("Authorization", token.as_str())],
        [("Authorization", &bearer)],
        [("Grpc-Metadata-Token", &token)],
    ] {
        let (status, body) = ask("/v3/kv/range", &headers, get).await;
        assert_eq!(status, 200, "{headers:?}: {body}");
    }
    let put = r#"{"key":"YS8x","value":"eA=="}"#;
    let header = [("Authorization", token.as_str())];
    let (status, body) = ask("/v3/kv/put", &header, put).await;
    assert_eq!(status, 403, "{body}");
    assert!(
        body.contains(r#""error":"etcdserver: permission denied""#),
        "{body}"
    );
    for (headers, code, text) in [
        (&[][..], 400, "etcdserver: user name is empty"),
        (
            &[("Grpc-Metadata-User", "root")],
            400,
            "etcdserver: user name is empty",
        ),
        (
            &[("Cookie", "token=x")],
            400,
            "etcdserver: user name is empty",
        ),
        (
            &[("Authorization", "x")],
            401,
            "etcdserver: invalid auth token",
        ),
    ] {
        for path in ["/v3/kv/range", "/v3beta/kv/range"] {
            let (status, body) = ask(path, headers, get).await;
            assert_eq!(status, code, "{headers:?}: {body}");
            let error = format!(r#""error":"{text}""#);
            assert!(body.contains(&error), "{body}");
        }
    }
    // A watch that is refused is an answer in its stream, as by gRPC.
    let watch = r#"{"create_request":{"key":"b3RoZXJz"}}"#;
    let mut http = Http::connect(&address).await.unwrap();
    http.begin("POST", "/v3/watch", &header).await.unwrap();
    http.send_chunk(watch).await.unwrap();
    http.head().await.unwrap();
    let line = http.chunk().await.unwrap().unwrap();
    assert!(line.contains("etcdserver: permission denied"), "{line}");
}

/// A request that waits for its body is one still.
#[tokio::test]
async fn administration_through_the_gateway_needs_root() {
    let users = Users::start(1).await;
    let address = users.cluster.node(0).address().to_owned();
    let both = users.token("both").await;
    let root = users.token("root").await;
    let ask = async |token: &str, path: &str, body: &str| {
        let mut http = Http::connect(&address).await.unwrap();
        let headers = [("Authorization", token)];
        let answer = http.ask("POST", path, &headers, body.as_bytes()).await;
        answer.unwrap().status
    };
    for (path, body) in [
        ("/v3/auth/user/add", r#"{"name":"n","password":"p"}"#),
        ("/v3/auth/user/get", r#"{"name":"n"}"#),
        ("/v3/auth/user/list", "{}"),
        ("/v3/auth/user/changepw", r#"{"name":"n","password":"q"}"#),
        ("/v3/auth/role/add", r#"{"name":"r"}"#),
        ("/v3/auth/role/get", r#"{"role":"r"}"#),
        ("/v3/auth/role/list", "{}"),
        (
            "/v3/auth/role/grant",
            r#"{"name":"r","perm":{"permType":"READWRITE","key":"Yg=="}}"#,
        ),
        ("/v3/auth/user/grant", r#"{"user":"n","role":"r"}"#),
        ("/v3/auth/user/revoke", r#"{"name":"n","role":"r"}"#),
        ("/v3/auth/role/revoke", r#"{"role":"r","key":"Yg=="}"#),
        ("/v3/auth/role/delete", r#"{"role":"r"}"#),
        ("/v3/auth/user/delete", r#"{"name":"n"}"#),
        ("/v3/auth/enable", "{}"),
        ("/v3/auth/disable", "{}"),
    ] {
        assert_eq!(ask(&both, path, body).await, 403, "{path}");
        assert_eq!(ask("nonsense", path, body).await, 401, "{path}");
        assert_eq!(ask(&root, path, body).await, 200, "{path}");
    }
}

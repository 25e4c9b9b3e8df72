//! Certificates: of members at the port of clients, of clients at the port of members, behind the
//! gateway, beside tokens, revoked ones.

use tenure_proto::etcdserverpb::RangeRequest;
use tenure_testkit::{Cluster, Http, Leaf, Pki};
use tonic::{Request, Status};

use super::{
    super::{
        certified::{Certified, nodes},
        setup::{User, Users},
    },
    BAD_TOKEN, NOBODY, refused,
};

const IGNORED: &str = "CommonName of client sending a request against gateway will be ignored and \
                       not used as expected";

async fn get(user: &User, headers: &[(&'static str, &str)]) -> Result<(), Status> {
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

/// CVE-2018-16886, and what else a certificate is not.
#[tokio::test]
async fn a_certificate_is_its_user_by_grpc_without_a_token_and_not_otherwise() {
    let pki = Pki::new();
    let users = Users::enable(nodes(&pki, 1).start().await).await;
    let secure = users.cluster.node(0).secure_address().to_owned();
    let reader = Certified::named(&secure, &pki, "reader").await;
    let user = User::on(reader.address(), None);
    get(&user, &[]).await.unwrap();
    // A token comes first, good or bad.
    let guest = users.token("guest").await;
    refused(
        get(&user, &[("token", &guest)]).await,
        "etcdserver: permission denied",
    );
    refused(get(&user, &[("token", "nonsense")]).await, BAD_TOKEN);
    // Who says to be the gateway is answered as its clients are.
    refused(get(&user, &[("grpcgateway-accept", "*/*")]).await, IGNORED);
    // A certificate that serves a member is one of a client here, and no member's: no user has its
    // name.
    let node = pki.issue("member", &Leaf::node());
    let member = Certified::to(&secure, &pki, &node, "h2").await;
    let stranger = User::on(member.address(), None);
    refused(get(&stranger, &[]).await, "etcdserver: user name not found");

    let pair = pki.issue("http", &Leaf::client("reader"));
    let gateway = Certified::to(&secure, &pki, &pair, "http/1.1").await;
    let ask = async |headers: &[(&str, &str)]| {
        let mut http = Http::connect(gateway.address()).await.unwrap();
        let body = br#"{"key":"YS8x"}"#;
        let answer = http
            .ask("POST", "/v3/kv/range", headers, body)
            .await
            .unwrap();
        (answer.status, answer.body)
    };
    let token = users.token("reader").await;
    for headers in [&[][..], &[("Authorization", token.as_str())]] {
        let (status, body) = ask(headers).await;
        assert_eq!(status, 400, "{body}");
        assert!(body.contains(IGNORED), "{body}");
    }
}

/// Where certificates are asked for, but not to say who calls.
#[tokio::test]
async fn without_client_cert_auth_a_certificate_names_nobody() {
    let pki = Pki::new();
    let [certificate, key] = pki.issue("node", &Leaf::node()).words();
    let cluster = Cluster::builder(1)
        .clients_use_tls()
        .flag("--cert-file", &certificate)
        .flag("--key-file", &key)
        .flag("--trusted-ca-file", &pki.authority().display().to_string());
    let users = Users::enable(cluster.start().await).await;
    let secure = users.cluster.node(0).secure_address().to_owned();
    let root = Certified::named(&secure, &pki, "root").await;
    let user = User::on(root.address(), None);
    refused(get(&user, &[]).await, NOBODY);
    let token = users.token("reader").await;
    get(&user, &[("token", &token)]).await.unwrap();
}

//! Certificates with every fault, on real sockets: what each side makes of the other's.

#![expect(
    clippy::unwrap_used,
    reason = "every line here is a test's or a test's helper's"
)]

mod files;

use std::{path::PathBuf, process::Command, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tenure_pki::{Issued, Leaf, Pki};
use tenure_tls::{
    Admitted, Allowed, Dialled, Entrance, Exit, Files, Policy, Port, PortSettings, Trust,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

/// The certificate of a side, its authority and what it asks of the other.
#[derive(Clone)]
struct Side {
    pair: Issued,
    authority: PathBuf,
    revocations: Option<PathBuf>,
    allowed: Allowed,
    policy: Policy,
}

impl Side {
    fn new(pki: &Pki, pair: Issued) -> Self {
        Self {
            pair,
            authority: pki.authority(),
            revocations: None,
            allowed: Allowed::default(),
            policy: Policy::default(),
        }
    }

    fn open(&self) -> Result<Port, String> {
        let settings = PortSettings {
            files: Files {
                certificate: self.pair.certificate.clone(),
                key: self.pair.key.clone(),
                client_pair: None,
                authorities: Some(self.authority.clone()),
                revocations: self.revocations.clone(),
            },
            trust: Trust::Everyone,
            server_name: None,
            allowed: self.allowed.clone(),
            policy: self.policy.clone(),
        };
        Port::open(settings).map_err(|error| error.to_string())
    }
}

/// What became of a connection: what each side says about it.
#[derive(Debug)]
struct Met {
    server: Result<Option<String>, String>,
    client: Result<(), String>,
}

/// Lets `client` connect to `server` at `localhost`.
async fn meet(server: &Side, client: &Side) -> Met {
    meet_at("localhost", server, client).await
}

/// Lets `client` connect to `server` at `name`.
async fn meet_at(name: &str, server: &Side, client: &Side) -> Met {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let entrance = Entrance {
        tls: Some(Arc::new(server.open().unwrap())),
        ..Entrance::default()
    };
    let exit = Exit {
        tls: Some(Arc::new(client.open().unwrap())),
        ..Exit::default()
    };
    let serving = async {
        let (stream, peer) = listener.accept().await.unwrap();
        match entrance.admit(stream, Some(peer)).await {
            Ok(Admitted::Tls(mut stream, identity)) => {
                // The client may be gone already.
                _ = stream.write_all(b"served").await;
                _ = stream.shutdown().await;
                Ok(identity.and_then(|identity| identity.common_name))
            }
            Ok(Admitted::Plain(_)) => panic!("this port speaks TLS only"),
            Err(refused) => Err(format!("{}: {refused}", refused.reason())),
        }
    };
    let calling = async {
        let stream = TcpStream::connect(address).await.unwrap();
        match exit.dial(stream, name, true).await {
            Ok(Dialled::Tls(mut stream)) => {
                // With TLS 1.3 a client learns only now that its certificate was refused.
                let mut heard = Vec::new();
                let read = stream.read_to_end(&mut heard).await;
                read.map_err(|error| error.to_string())?;
                assert_eq!(heard, b"served");
                Ok(())
            }
            Ok(Dialled::Plain(_)) => panic!("it was to use TLS"),
            Err(error) => Err(error.to_string()),
        }
    };
    let (server, client) = tokio::join!(serving, calling);
    Met { server, client }
}

/// A certificate of the server that the client must refuse, with a word of its reason.
fn bad_servers(pki: &Pki, other: &Pki) -> Vec<(&'static str, Issued, &'static str)> {
    let node = Leaf::node();
    vec![
        (
            "expired",
            pki.issue("s1", &node.clone().valid(-9, -2)),
            "expired",
        ),
        (
            "not yet valid",
            pki.issue("s2", &node.clone().valid(2, 9)),
            "not valid yet",
        ),
        (
            "another authority",
            other.issue("s3", &node),
            "UnknownIssuer",
        ),
        ("self-signed", pki.self_signed("s4", &node), "UnknownIssuer"),
        (
            "another name",
            pki.issue("s5", &node.clone().names(&["other.example"])),
            "not valid for name",
        ),
        (
            "no name but a common one",
            pki.issue("s6", &node.clone().names(&[]).common_name("localhost")),
            "not valid for name",
        ),
        (
            "a wildcard of another domain",
            pki.issue("s7", &node.clone().names(&["*.example"])),
            "not valid for name",
        ),
        (
            "a chain with a gap",
            pki.issue_below("s8", &node, false),
            "UnknownIssuer",
        ),
        (
            "for clients only",
            pki.issue("s9", &Leaf::client("x").names(&["localhost"])),
            "extended key usage",
        ),
    ]
}

/// A certificate of the client that the server must refuse, with its reason.
fn bad_clients(pki: &Pki, other: &Pki) -> Vec<(&'static str, Issued, &'static str)> {
    let client = Leaf::client("ada");
    vec![
        (
            "expired",
            pki.issue("c1", &client.clone().valid(-9, -2)),
            "certificate_expired",
        ),
        (
            "not yet valid",
            pki.issue("c2", &client.clone().valid(2, 9)),
            "certificate_invalid",
        ),
        (
            "another authority",
            other.issue("c3", &client),
            "certificate_unknown_authority",
        ),
        (
            "self-signed",
            pki.self_signed("c4", &client),
            "certificate_unknown_authority",
        ),
        (
            "a chain with a gap",
            pki.issue_below("c5", &client, false),
            "certificate_unknown_authority",
        ),
        (
            "for servers only",
            pki.issue("c6", &client.clone().for_servers()),
            "certificate_invalid",
        ),
        (
            "revoked",
            pki.issue("c7", &client.serial(77)),
            "certificate_revoked",
        ),
    ]
}

#[tokio::test]
async fn faulty_certificates_of_servers_are_refused_by_name() {
    let (pki, other) = (Pki::new(), Pki::new());
    let client = Side::new(&pki, pki.issue("client", &Leaf::client("ada")));
    for (fault, pair, word) in bad_servers(&pki, &other) {
        let met = meet(&Side::new(&pki, pair), &client).await;
        let error = met.client.expect_err(fault);
        assert!(error.contains(word), "{fault}: {error}");
        met.server.expect_err(fault);
    }
}

#[tokio::test]
async fn faulty_certificates_of_clients_are_refused_by_name_and_nothing_is_served() {
    let (pki, other) = (Pki::new(), Pki::new());
    let mut server = Side::new(&pki, pki.issue("server", &Leaf::node()));
    server.revocations = Some(pki.revoke("revoked.der", &[77], 10));
    for (fault, pair, reason) in bad_clients(&pki, &other) {
        for version in ["TLS1.2", "TLS1.3"] {
            let mut client = Side::new(&pki, pair.clone());
            client.policy = Policy::new(version, version, &[]).unwrap();
            let met = meet(&server, &client).await;
            let said = met.server.expect_err(fault);
            assert!(said.starts_with(reason), "{fault}: {said}");
            met.client.expect_err(fault);
        }
    }
}

#[tokio::test]
async fn sound_certificates_of_every_kind_are_accepted_and_named() {
    let pki = Pki::new();
    let node = Leaf::node();
    let server = Side::new(&pki, pki.issue("server", &node));
    let client = Side::new(&pki, pki.issue("client", &Leaf::client("ada")));
    let named = |pair| Side::new(&pki, pair);
    for (kind, server, client, name) in [
        ("plain", server.clone(), client.clone(), Some("ada")),
        (
            "a chain",
            named(pki.issue_below("s", &node, true)),
            client.clone(),
            Some("ada"),
        ),
        (
            "a chain of the client",
            server.clone(),
            named(pki.issue_below("c", &Leaf::client("bob"), true)),
            Some("bob"),
        ),
        ("a node's own", server.clone(), server.clone(), Some("node")),
    ] {
        let met = meet(&server, &client).await;
        met.client.expect(kind);
        assert_eq!(met.server.expect(kind).as_deref(), name, "{kind}");
    }
}

#[tokio::test]
async fn a_certificate_is_for_the_names_and_addresses_it_lists_and_no_others() {
    let pki = Pki::new();
    let client = Side::new(&pki, pki.issue("client", &Leaf::client("ada")));
    let server =
        |file, names: &[&str]| Side::new(&pki, pki.issue(file, &Leaf::node().names(names)));
    let address = server("address", &["127.0.0.1"]);
    let wildcard = server("wildcard", &["*.nodes.example"]);
    let named = server("named", &["a.example"]);
    for (server, name, is_for) in [
        (&address, "127.0.0.1", true),
        (&address, "127.0.0.2", false),
        (&address, "localhost", false),
        (&wildcard, "a.nodes.example", true),
        (&wildcard, "a.b.nodes.example", false),
        (&wildcard, "nodes.example", false),
        (&named, "a.example", true),
        // The name that the client sends chooses no other certificate.
        (&named, "b.example", false),
        (&named, "127.0.0.1", false),
    ] {
        let met = meet_at(name, server, &client).await;
        match met.client {
            Ok(()) => assert!(is_for, "{name}"),
            Err(said) => {
                assert!(!is_for, "{name}: {said}");
                assert!(said.contains("not valid for name"), "{name}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn a_list_of_revoked_certificates_that_is_out_of_date_still_counts() {
    let pki = Pki::new();
    let mut server = Side::new(&pki, pki.issue("server", &Leaf::node()));
    server.revocations = Some(pki.revoke("old.der", &[77], -5));
    let client = |name, serial| Side::new(&pki, pki.issue(name, &Leaf::client("x").serial(serial)));
    let met = meet(&server, &client("revoked", 77)).await;
    let said = met.server.expect_err("revoked");
    assert!(said.starts_with("certificate_revoked"), "{said}");
    meet(&server, &client("sound", 78)).await.server.unwrap();
}

#[tokio::test]
async fn only_allowed_names_get_in() {
    let pki = Pki::new();
    let mut server = Side::new(&pki, pki.issue("server", &Leaf::node()));
    let client = |name: &str| {
        let leaf = Leaf::client(name).names(&["a.example"]);
        Side::new(&pki, pki.issue(name, &leaf))
    };
    server.allowed.common_names = vec!["ada".to_owned(), "eve".to_owned()];
    meet(&server, &client("ada")).await.server.unwrap();
    let said = meet(&server, &client("bob")).await.server.unwrap_err();
    assert!(
        said.contains("client certificate authentication failed"),
        "{said}"
    );
    server.allowed.common_names.clear();
    server.allowed.host_names = vec!["a.example".to_owned()];
    meet(&server, &client("bob")).await.server.unwrap();
    server.allowed.host_names = vec!["b.example".to_owned()];
    meet(&server, &client("bob")).await.server.unwrap_err();
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let pki = Pki::new();
    let server = Side::new(&pki, pki.issue("server", &Leaf::node()));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(pki.authority()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(16 << 10);
        let entrance = Entrance {
            tls: Some(Arc::new(server.open().unwrap())),
            ..Entrance::default()
        };
        let connector = TlsConnector::from(Arc::new(config));
        let calling = async {
            let mut stream = connector
                .connect("localhost".try_into().unwrap(), near)
                .await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        let serving = async { entrance.admit(far, None).await.map(|_| ()) };
        let (refused, called) = tokio::join!(serving, calling);
        assert_eq!(refused.unwrap_err().reason(), "certificate_missing");
        let error = called.unwrap_err().to_string();
        assert!(error.contains("CertificateRequired"), "{error}");
    }
}

/// What a server says about a connection that begins with these bytes.
async fn raw(server: &Side, bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let entrance = Entrance {
        tls: Some(Arc::new(server.open().unwrap())),
        ..Entrance::default()
    };
    let calling = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an answer, too.
        _ = stream.read_to_end(&mut answer).await;
        answer
    };
    let serving = async {
        let (stream, peer) = listener.accept().await.unwrap();
        match entrance.admit(stream, Some(peer)).await {
            Ok(_) => "admitted".to_owned(),
            Err(refused) => format!("{}: {refused}", refused.reason()),
        }
    };
    let (said, _) = tokio::join!(serving, calling);
    said
}

/// A hello of TLS 1.0 to 1.2 by hand: `version` is its minor one, and `suite` the only suite.
fn hello(version: u8, suite: u16) -> Vec<u8> {
    let mut body = vec![3, version];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2]);
    body.extend(suite.to_be_bytes());
    body.extend([1, 0]);
    // A group and a signature algorithm, without which no server goes on.
    let extensions = [
        0, 10, 0, 4, 0, 2, 0, 23, // secp256r1
        0, 13, 0, 4, 0, 2, 4, 3, // ecdsa_secp256r1_sha256
    ];
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

#[tokio::test]
async fn old_versions_and_weak_suites_are_refused() {
    const ECDHE_ECDSA_AES_128_GCM: u16 = 0xc02b;
    const RSA_AES_128_CBC: u16 = 0x002f;
    let pki = Pki::new();
    let server = Side::new(&pki, pki.issue("server", &Leaf::node()));
    let said = raw(&server, hello(2, ECDHE_ECDSA_AES_128_GCM)).await;
    assert!(said.starts_with("handshake"), "TLS 1.1: {said}");
    let said = raw(&server, hello(3, RSA_AES_128_CBC)).await;
    assert!(said.starts_with("handshake"), "a weak suite: {said}");
    let said = raw(&server, b"GET / HTTP/1.1\r\n\r\n".to_vec()).await;
    assert!(said.starts_with("not_tls"), "plain text: {said}");
}

#[tokio::test]
async fn a_request_in_plain_text_is_told_that_the_port_speaks_tls() {
    let pki = Pki::new();
    let server = Side::new(&pki, pki.issue("server", &Leaf::node()));
    let entrance = Entrance {
        tls: Some(Arc::new(server.open().unwrap())),
        ..Entrance::default()
    };
    let (mut client, io) = tokio::io::duplex(1024);
    client
        .write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let (admitted, read) = tokio::join!(
        async { entrance.admit(io, None).await.map(|_| ()) },
        client.read_to_string(&mut answer)
    );
    admitted.unwrap_err();
    read.unwrap();
    assert!(
        answer.starts_with("HTTP/1.0 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"));
}

/// Runs `openssl` with these arguments in `pki`'s directory; `None` when it is not installed.
fn made_by_openssl(pki: &Pki, arguments: &[&str]) -> Option<()> {
    let ran = Command::new("openssl")
        .args(arguments)
        .current_dir(pki.path(""))
        .output();
    match ran {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            Some(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("openssl cannot be run: {error}"),
    }
}

#[tokio::test]
async fn short_rsa_keys_and_old_signatures_are_refused() {
    let pki = Pki::new();
    let client = Side::new(&pki, pki.issue("client", &Leaf::client("ada")));
    let make = |name: &str, bits: &str, digest: &str| {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}-key.pem"));
        let bits = format!("rsa:{bits}");
        made_by_openssl(
            &pki,
            &[
                "req",
                "-x509",
                "-newkey",
                &bits,
                "-nodes",
                digest,
                "-days",
                "9",
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-keyout",
                &key,
                "-out",
                &certificate,
            ],
        )?;
        Some(Issued {
            certificate: pki.path(&certificate),
            key: pki.path(&key),
        })
    };
    let Some(sound) = make("sound", "2048", "-sha256") else {
        eprintln!("SKIPPED: openssl is not installed");
        return;
    };
    let trusting = |authority: &Issued| Side {
        authority: authority.certificate.clone(),
        ..client.clone()
    };
    let mut server = Side::new(&pki, sound.clone());
    meet(&server, &trusting(&sound))
        .await
        .client
        .expect("2048 bits");
    let old = make("old", "2048", "-sha1").expect("it is installed");
    server.pair = old.clone();
    meet(&server, &trusting(&old))
        .await
        .client
        .expect_err("SHA-1");
    let short = make("short", "1024", "-sha256").expect("it is installed");
    server.pair = short;
    let said = server.open().map(|_| ()).expect_err("1024 bits");
    assert!(said.contains("short-key.pem"), "{said}");
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority_is_accepted_where_it_is_named() {
    let pki = Pki::new();
    let node = Leaf::node().authority();
    let own = |name: &str, leaf: &Leaf| {
        let pair = pki.self_signed(name, leaf);
        let authority = pair.certificate.clone();
        Side {
            authority,
            ..Side::new(&pki, pair)
        }
    };
    let (one, other) = (own("one", &node), own("other", &node));
    let met = meet(&one, &one).await;
    assert_eq!(met.server, Ok(Some("node".to_owned())));
    assert_eq!(met.client, Ok(()));
    // Not where another of the same name is named, nor when it is expired, nor for another name.
    let past = own("past", &node.clone().valid(-9, -2));
    let named = own("named", &node.names(&["other.example"]));
    for (server, client) in [(&one, &other), (&past, &past), (&named, &named)] {
        let met = meet(server, client).await;
        met.client.unwrap_err();
        met.server.unwrap_err();
    }
}

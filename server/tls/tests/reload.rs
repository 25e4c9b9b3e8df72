//! Files that change while a port is in use, and members that prove a secret to each other.

#![expect(
    clippy::unwrap_used,
    reason = "every line here is a test's or a test's helper's"
)]

use std::{fs, sync::Arc};

use tenure_pki::{Issued, Leaf, Pki};
use tenure_tls::{
    Admitted, Allowed, Change, Dialled, Entrance, Exit, ExitError, Files, Part, Policy, Port,
    PortSettings, Refused, SecretError, SharedSecrets, Trust,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn port(pki: &Pki, pair: &Issued, revocations: bool) -> Arc<Port> {
    let port = Port::open(PortSettings {
        files: Files {
            certificate: pair.certificate.clone(),
            key: pair.key.clone(),
            client_pair: None,
            authorities: Some(pki.authority()),
            revocations: revocations.then(|| pki.path("revoked.der")),
        },
        trust: Trust::Everyone,
        server_name: None,
        allowed: Allowed::default(),
        policy: Policy::default(),
    });
    Arc::new(port.expect("its files are sound"))
}

/// What each side says about a connection that may not be used.
type Failed = (Result<(), Refused>, Result<(), ExitError>);

/// Repeats a change of files until it shows: their times are coarse.
fn after(port: &Port, change: impl Fn()) -> Vec<Change> {
    loop {
        change();
        let changes = port.refresh();
        if !changes.is_empty() {
            return changes;
        }
    }
}

/// Connects; the ends of a connection that may be used.
async fn connect(
    entrance: &Entrance,
    exit: &Exit,
    is_tls: bool,
) -> Result<(Admitted<DuplexStream>, Dialled<DuplexStream>), Failed> {
    let (near, far) = duplex(16 << 10);
    let (admitted, dialled) = tokio::join!(
        entrance.admit(far, None),
        exit.dial(near, "localhost", is_tls)
    );
    match (admitted, dialled) {
        (Ok(admitted), Ok(dialled)) => Ok((admitted, dialled)),
        (admitted, dialled) => Err((admitted.map(|_| ()), dialled.map(|_| ()))),
    }
}

fn tls(port: &Arc<Port>) -> Entrance {
    Entrance {
        tls: Some(Arc::clone(port)),
        ..Entrance::default()
    }
}

fn dialling(port: &Arc<Port>) -> Exit {
    Exit {
        tls: Some(Arc::clone(port)),
        secrets: None,
    }
}

fn serial(admitted: &Admitted<DuplexStream>) -> String {
    match admitted {
        Admitted::Tls(_, Some(identity)) => identity.serial.clone(),
        other => panic!("a certificate was shown: {other:?}"),
    }
}

#[tokio::test]
async fn a_new_certificate_is_in_force_for_the_next_connection_and_no_connection_ends() {
    let pki = Pki::new();
    let server = port(&pki, &pki.issue("server", &Leaf::node()), false);
    let pair = pki.issue("client", &Leaf::client("ada").serial(5));
    let client = port(&pki, &pair, false);
    let (admitted, dialled) = connect(&tls(&server), &dialling(&client), true)
        .await
        .unwrap();
    assert_eq!(serial(&admitted), "05");
    for (port, name, leaf) in [
        (&server, "server", Leaf::node()),
        (&client, "client", Leaf::client("ada").serial(6)),
    ] {
        let changes = after(port, || {
            pki.issue(name, &leaf);
        });
        assert!(
            matches!(
                changes[..],
                [Change::Loaded {
                    part: Part::Certificate,
                    ..
                }]
            ),
            "{changes:?}"
        );
    }
    let (next, _) = connect(&tls(&server), &dialling(&client), true)
        .await
        .unwrap();
    assert_eq!(serial(&next), "06");
    let (Admitted::Tls(mut near, _), Dialled::Tls(mut far)) = (admitted, dialled) else {
        panic!("over TLS");
    };
    near.write_all(b"still").await.unwrap();
    near.flush().await.unwrap();
    let mut heard = [0; 5];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still");
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_is_reported_once_by_name() {
    let pki = Pki::new();
    let pair = pki.issue("server", &Leaf::node());
    let server = port(&pki, &pair, false);
    let client = port(&pki, &pki.issue("client", &Leaf::client("ada")), false);
    fs::write(&pair.certificate, "half a certi").unwrap();
    let changes = server.refresh();
    let [Change::Failed { error, .. }] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert!(error.to_string().contains("server.pem"), "{error}");
    assert!(server.refresh().is_empty(), "it was reported");
    connect(&tls(&server), &dialling(&client), true)
        .await
        .unwrap();
    pki.issue("server", &Leaf::node().serial(9));
    assert!(matches!(server.refresh()[..], [Change::Loaded { .. }]));
    assert!(server.refresh().is_empty());
}

#[tokio::test]
async fn authorities_and_revocations_are_read_again() {
    let pki = Pki::new();
    pki.revoke("revoked.der", &[], 10);
    let server = port(&pki, &pki.issue("server", &Leaf::node()), true);
    let client = port(
        &pki,
        &pki.issue("client", &Leaf::client("ada").serial(7)),
        false,
    );
    connect(&tls(&server), &dialling(&client), true)
        .await
        .unwrap();
    pki.revoke("revoked.der", &[7], 10);
    let changes = server.refresh();
    assert!(
        matches!(
            changes[..],
            [Change::Loaded {
                part: Part::Revocations,
                ..
            }]
        ),
        "{changes:?}"
    );
    let (refused, _) = connect(&tls(&server), &dialling(&client), true)
        .await
        .unwrap_err();
    assert_eq!(refused.unwrap_err().reason(), "certificate_revoked");

    // The old authority and a new one, as when authorities are replaced.
    let other = Pki::new();
    let stranger = port(&other, &other.issue("client", &Leaf::client("eve")), false);
    let both = [&pki, &other].map(|pki| fs::read_to_string(pki.authority()).unwrap());
    let (refused, _) = connect(&tls(&server), &dialling(&stranger), true)
        .await
        .unwrap_err();
    refused.unwrap_err();
    pki.write("ca.pem", &both.concat());
    other.write("ca.pem", &both.concat());
    for port in [&server, &stranger] {
        assert!(matches!(
            port.refresh()[..],
            [Change::Loaded {
                part: Part::Authorities,
                ..
            }]
        ));
    }
    connect(&tls(&server), &dialling(&stranger), true)
        .await
        .unwrap();
}

fn members(secret: Option<&str>, is_optional: bool) -> (Entrance, Exit) {
    let directory = tempfile::tempdir().unwrap();
    let secrets = secret.map(|secret| {
        let path = directory.path().join("secret");
        fs::write(&path, secret).unwrap();
        Arc::new(SharedSecrets::open(path, is_optional).unwrap())
    });
    let entrance = Entrance {
        allows_plain: true,
        is_of_members: true,
        secrets: secrets.clone(),
        ..Entrance::default()
    };
    (entrance, Exit { tls: None, secrets })
}

#[tokio::test]
async fn members_with_the_same_secret_meet_and_strangers_do_not() {
    let (entrance, exit) = members(Some(SECRET), false);
    connect(&entrance, &exit, false).await.unwrap();

    let (_, other) = members(Some("another secret that is long enough"), false);
    let (refused, dialled) = connect(&entrance, &other, false).await.unwrap_err();
    assert_eq!(refused.unwrap_err().reason(), "secret");
    assert!(
        matches!(dialled, Err(ExitError::Secret(SecretError::Refused))),
        "{dialled:?}"
    );

    // A stranger begins with HTTP/2, as a member without a secret does.
    let (mut stranger, far) = duplex(64);
    stranger
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let refused = entrance.admit(far, None).await.unwrap_err();
    assert!(
        matches!(refused, Refused::Secret(SecretError::Missing)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_secret_is_given_to_a_running_cluster_member_by_member() {
    let (without_in, without_out) = members(None, false);
    let (optional_in, optional_out) = members(Some(SECRET), true);
    let (strict_in, strict_out) = members(Some(SECRET), false);
    let plain = async |entrance: &Entrance| {
        let (mut member, far) = duplex(64);
        member
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        entrance.admit(far, None).await.is_ok()
    };
    assert!(plain(&without_in).await && plain(&optional_in).await);
    assert!(!plain(&strict_in).await);
    _ = without_out;
    for (entrance, exit) in [
        (&without_in, &optional_out),
        (&optional_in, &optional_out),
        (&optional_in, &strict_out),
        (&strict_in, &optional_out),
        (&strict_in, &strict_out),
    ] {
        connect(entrance, exit, false).await.unwrap();
    }
    let (_, dialled) = connect(&without_in, &strict_out, false).await.unwrap_err();
    assert!(matches!(
        dialled,
        Err(ExitError::Secret(SecretError::NotConfigured))
    ));
}

#[tokio::test]
async fn no_bytes_of_a_stranger_end_the_exchange_well() {
    let (entrance, _) = members(Some(SECRET), false);
    // Every prefix of an opening, and an opening that is changed at every byte.
    let opening = [&b"\0tenure\x01"[..], &[9; 32], &[9; 32]].concat();
    for at in 0..opening.len() {
        for changed in [None, Some(opening[at] ^ 0x5a)] {
            let mut bytes = opening.clone();
            match changed {
                None => bytes.truncate(at),
                Some(byte) => bytes[at] = byte,
            }
            let (mut stranger, far) = duplex(256);
            stranger.write_all(&bytes).await.unwrap();
            stranger.shutdown().await.unwrap();
            entrance.admit(far, None).await.unwrap_err();
        }
    }
}

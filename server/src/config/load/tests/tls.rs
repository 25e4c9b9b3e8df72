//! Tests of the settings of TLS.

use super::{config, serve};

#[test]
fn tls_is_what_its_flags_say() {
    let given = config(&[
        "--listen-client-urls=https://127.0.0.1:2379,http://127.0.0.1:2379",
        "--cert-file=c",
        "--key-file=k",
        "--trusted-ca-file=ca",
    ]);
    let tls = given.client_tls.as_ref().expect("it listens with TLS");
    assert_eq!(tls.trust, tenure_tls::Trust::Everyone);
    assert!(given.peer_tls.is_none());
    let made = config(&[
        "--listen-peer-urls=https://127.0.0.1:2380",
        "--initial-cluster=default=https://127.0.0.1:2380",
        "--peer-auto-tls",
    ]);
    let tls = made.peer_tls.as_ref().expect("members use TLS");
    assert_eq!(tls.trust, tenure_tls::Trust::Nobody);
    assert!(made.client_tls.is_none());
}

#[test]
fn certificates_without_an_https_address_are_a_warning() {
    let (config, warnings) = serve(&["--cert-file=c", "--key-file=k"]);
    assert!(config.client_tls.is_none());
    let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["--cert-file: has no effect: no URL begins with https://"]
    );
}

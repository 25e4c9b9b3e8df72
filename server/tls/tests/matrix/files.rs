//! Files that cannot be used are named, with the reason.

use std::fs;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tenure_pki::{Leaf, Pki};

use super::Side;

/// What `openssl x509 -req` makes when it is given no extensions, and its key.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBBDCBrAIBATAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAgFw0yNjEyMDEw
NDAyMzdaGA8yMTI2MTEwNzA0MDIzN1owDzENMAsGA1UEAwwEbm9kZTBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABONpMHc/q1HGIgd7JZSk1plcFboKmMKs1EE8nxJf
fDE/7krrtnccekLnlYJmzedcvPh/nx4t9cd7EcjMFlIGGIEwCgYIKoZIzj0EAwID
RwAwRAIgXIZdYlAaclhssxhhG+3AacQm2RBzdFMxhwVzUpWaYV0CIH98qtXgU3Pi
RC6Ebv072sTPIxu6X+HjDALIJek0hXPd
-----END CERTIFICATE-----
";
const KEY_OF_VERSION_1: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg8iQN44HsMzKz3YF3
alWz/eeluM7urdfHzVsWzqP0d9WhRANCAATjaTB3P6tRxiIHeyWUpNaZXBW6CpjC
rNRBPJ8SX3wxP+5K67Z3HHpC55WCZs3nXLz4f58eLfXHexHIzBZSBhiB
-----END PRIVATE KEY-----
";

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let pki = Pki::new();
    let good = pki.issue("good", &Leaf::node());
    let other = pki.issue("other", &Leaf::node());
    let said = |change: &dyn Fn(&mut Side)| {
        let mut side = Side::new(&pki, good.clone());
        change(&mut side);
        side.open().map(|_| ()).expect_err("it cannot be used")
    };
    let key = fs::read_to_string(&good.key).unwrap();
    let garbage = pki.write(
        "garbage.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let encrypted = pki.write(
        "encrypted.pem",
        &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
    );
    let empty = pki.write("empty.pem", "");
    let der = pki.path("good.der");
    let certificate = CertificateDer::from_pem_file(&good.certificate).unwrap();
    fs::write(&der, certificate).unwrap();
    for (words, text) in [
        (
            ["other-key.pem", "does not belong"],
            said(&|side| side.pair.key.clone_from(&other.key)),
        ),
        (
            ["encrypted.pem", "encrypted"],
            said(&|side| side.pair.key.clone_from(&encrypted)),
        ),
        (
            ["garbage.pem", "cannot be used"],
            said(&|side| side.pair.certificate.clone_from(&garbage)),
        ),
        (
            ["empty.pem", "no certificate"],
            said(&|side| side.pair.certificate.clone_from(&empty)),
        ),
        (
            ["good.der", "no certificate"],
            said(&|side| side.pair.certificate.clone_from(&der)),
        ),
        (
            ["empty.pem", "no certificate"],
            said(&|side| side.authority.clone_from(&empty)),
        ),
        (
            ["missing.pem", "cannot be read"],
            said(&|side| side.pair.key = pki.path("missing.pem")),
        ),
        (
            ["garbage.pem", "no revocation list"],
            said(&|side| side.revocations = Some(garbage.clone())),
        ),
    ] {
        assert!(
            words.iter().all(|word| text.contains(word)),
            "{words:?}: {text}"
        );
    }
}

#[test]
fn a_key_that_everybody_may_read_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let pki = Pki::new();
    let side = Side::new(&pki, pki.issue("node", &Leaf::node()));
    assert!(side.open().unwrap().public_keys().is_empty());
    fs::set_permissions(&side.pair.key, fs::Permissions::from_mode(0o644)).unwrap();
    let keys = side.open().unwrap().public_keys();
    assert_eq!(keys, std::slice::from_ref(&side.pair.key));
}

#[test]
fn a_certificate_of_version_1_is_named_as_such_and_not_its_key() {
    let pki = Pki::new();
    let mut side = Side::new(&pki, pki.issue("node", &Leaf::node()));
    side.pair.certificate = pki.write("version-1.pem", VERSION_1);
    side.pair.key = pki.write("version-1-key.pem", KEY_OF_VERSION_1);
    let said = side.open().map(|_| ()).expect_err("it cannot be used");
    assert!(said.contains("version-1.pem cannot be used"), "{said}");
    assert!(said.contains("not of version 3"), "{said}");
    assert!(!said.contains("does not belong"), "{said}");
}

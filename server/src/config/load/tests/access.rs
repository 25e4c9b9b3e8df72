//! Settings of tokens, passwords and the audit log.

use std::time::Duration;

use super::{config, serve};
use crate::config::{AuditTarget, JwtMethod, TokenProvider};

#[test]
fn tokens_passwords_and_the_audit_log_are_set_as_told() {
    let seconds = Duration::from_secs;
    let default = config(&[]);
    let ttl = seconds(24 * 60 * 60);
    assert_eq!(default.tokens, TokenProvider::Signed { ttl });
    assert_eq!(default.bcrypt_cost, 10);
    assert_eq!(default.audit_log, AuditTarget::Stderr);

    let told = config(&[
        "--auth-token=simple",
        "--auth-token-ttl=60",
        "--bcrypt-cost=12",
        "--audit-log=/var/log/audit.json",
    ]);
    assert_eq!(told.tokens, TokenProvider::Simple { ttl: seconds(60) });
    assert_eq!(told.bcrypt_cost, 12);
    let file = |bytes_max| AuditTarget::File {
        path: "/var/log/audit.json".into(),
        bytes_max,
    };
    assert_eq!(told.audit_log, file(Some(100 << 20)));
    let grows = config(&["--audit-log=/var/log/audit.json", "--audit-log-max-bytes=0"]);
    assert_eq!(grows.audit_log, file(None));
    assert_eq!(config(&["--audit-log=off"]).audit_log, AuditTarget::Off);
    let TokenProvider::Jwt(jwt) = config(&["--auth-token=jwt,priv-key=k,sign-method=ES512"])
        .tokens
        .clone()
    else {
        panic!("it asks for JSON web tokens");
    };
    assert_eq!(jwt.method, JwtMethod::Es512);
    assert_eq!(config(&["--auth-token="]).tokens, TokenProvider::Off);
}

#[test]
fn a_cost_that_bcrypt_has_not_and_a_ttl_of_zero_are_replaced_by_the_defaults() {
    for cost in ["0", "3", "32", "4294967306"] {
        let (config, warnings) = serve(&["--bcrypt-cost", cost]);
        assert_eq!(config.bcrypt_cost, 10, "{cost}");
        assert!(
            warnings[0].to_string().contains("--bcrypt-cost"),
            "{warnings:?}"
        );
    }
    let (config, warnings) = serve(&["--auth-token=simple", "--auth-token-ttl=0"]);
    let ttl = Duration::from_secs(300);
    let simple = TokenProvider::Simple { ttl };
    assert_eq!((config.tokens.clone(), warnings.len()), (simple, 1));
}

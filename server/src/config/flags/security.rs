//! Settings of TLS, authentication and origins.
//!
//! Those of TLS and authentication take no effect yet. Settings that would protect the cluster are
//! refused, never ignored: a member that starts without the requested protection is worse than one
//! that does not start.

use super::{Class, Class::*, Flag, Group, Kind::*, Setting};

/// The class of every setting of TLS.
const TLS: Class = Refused("TLS");

rows! { SECURITY: Security;
    _: &str = "cert-file", Text, "", TLS, "Certificate to show clients.";
    _: &str = "key-file", Text, "", TLS, "Key of that certificate.";
    _: &str = "client-cert-file", Text, "", TLS,
        "Certificate for calls to this cluster's own client port.";
    _: &str = "client-key-file", Text, "", TLS, "Key of that certificate.";
    _: bool = "client-cert-auth", Bool, false, TLS, "Whether clients must show a certificate.";
    _: &str = "client-crl-file", Text, "", TLS, "List of revoked client certificates.";
    _: &str = "client-cert-allowed-hostname", List, "", TLS,
        "Names that client certificates may hold.";
    _: &str = "trusted-ca-file", Text, "", TLS, "Authority that signs client certificates.";
    _: bool = "auto-tls", Bool, false, TLS,
        "Whether to make a certificate for clients at each start.";
    _: &str = "peer-cert-file", Text, "", TLS, "Certificate to show other members.";
    _: &str = "peer-key-file", Text, "", TLS, "Key of that certificate.";
    _: &str = "peer-client-cert-file", Text, "", TLS, "Certificate for calls to other members.";
    _: &str = "peer-client-key-file", Text, "", TLS, "Key of that certificate.";
    _: bool = "peer-client-cert-auth", Bool, false, TLS,
        "Whether other members must show a certificate.";
    _: &str = "peer-trusted-ca-file", Text, "", TLS,
        "Authority that signs the members' certificates.";
    _: bool = "peer-auto-tls", Bool, false, TLS,
        "Whether to make a certificate for peers at each start.";
    _: &str = "peer-crl-file", Text, "", TLS, "List of revoked member certificates.";
    _: &str = "peer-cert-allowed-cn", List, "", TLS,
        "Common names that member certificates may hold.";
    _: &str = "peer-cert-allowed-hostname", List, "", TLS,
        "Host names that member certificates may hold.";
    _: bool = "peer-skip-client-san-verification", Bool, false, TLS,
        "Whether to skip the check of names in member certificates.";
    _: u64 = "self-signed-cert-validity", Uint, 1, TLS,
        "Years that a certificate made at start is valid.";
    _: &str = "cipher-suites", List, "", TLS, "Cipher suites to accept.";
    _: &str = "tls-min-version", Choice(&["TLS1.2", "TLS1.3"]), "TLS1.2", TLS,
        "Lowest TLS version to accept.";
    _: &str = "tls-max-version", Choice(&["TLS1.2", "TLS1.3"]), "", TLS,
        "Highest TLS version to accept.";
    CORS: &str = "cors", List, "", Used,
        "Origins whose pages in a browser may read HTTP pages and responses of the JSON gateway. \
         * means all, empty means none.";
    HOST_WHITELIST: &str = "host-whitelist", List, "*", Used,
        "Host names that HTTP requests may carry. * means all.";
    _: &str = "auth-token", Text, "simple", Refused("signed tokens"),
        "Form of the tokens that log-ins return.";
    _: u64 = "auth-token-ttl", Uint, 300, Ignored("authentication is not built yet"),
        "Seconds that a token stays valid without use.";
    _: u64 = "bcrypt-cost", Uint, 10, Ignored("authentication is not built yet"),
        "Cost of a password hash.";
}

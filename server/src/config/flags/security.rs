//! Settings of TLS, authentication and origins.
//!
//! None takes effect yet. One that would protect the cluster is refused and never ignored, because
//! a member that starts without the protection it was asked for is worse than one that does not.

use super::{Class, Class::*, Flag, Group, Kind::*};

/// What is missing for every setting of TLS.
const TLS: Class = Refused("TLS");

pub(super) const FLAGS: &[Flag] = rows! { Security;
    "cert-file", Text, "", TLS, "Certificate to show clients.";
    "key-file", Text, "", TLS, "Key of that certificate.";
    "client-cert-file", Text, "", TLS, "Certificate for calls to this cluster's own client port.";
    "client-key-file", Text, "", TLS, "Key of that certificate.";
    "client-cert-auth", Bool, "false", TLS, "Whether clients must show a certificate.";
    "client-crl-file", Text, "", TLS, "List of revoked client certificates.";
    "client-cert-allowed-hostname", List, "", TLS, "Names that client certificates may hold.";
    "trusted-ca-file", Text, "", TLS, "Authority that signs client certificates.";
    "auto-tls", Bool, "false", TLS, "Whether to make a certificate for clients at each start.";
    "peer-cert-file", Text, "", TLS, "Certificate to show other members.";
    "peer-key-file", Text, "", TLS, "Key of that certificate.";
    "peer-client-cert-file", Text, "", TLS, "Certificate for calls to other members.";
    "peer-client-key-file", Text, "", TLS, "Key of that certificate.";
    "peer-client-cert-auth", Bool, "false", TLS, "Whether other members must show a certificate.";
    "peer-trusted-ca-file", Text, "", TLS, "Authority that signs the members' certificates.";
    "peer-auto-tls", Bool, "false", TLS, "Whether to make a certificate for peers at each start.";
    "peer-crl-file", Text, "", TLS, "List of revoked member certificates.";
    "peer-cert-allowed-cn", List, "", TLS, "Common names that member certificates may hold.";
    "peer-cert-allowed-hostname", List, "", TLS, "Host names that member certificates may hold.";
    "peer-skip-client-san-verification", Bool, "false", TLS,
        "Whether to skip the check of names in member certificates.";
    "self-signed-cert-validity", Uint, "1", TLS, "Years that a certificate made at start is valid.";
    "cipher-suites", List, "", TLS, "Cipher suites to accept.";
    "tls-min-version", Choice(&["TLS1.2", "TLS1.3"]), "TLS1.2", TLS, "Lowest TLS version to \
     accept.";
    "tls-max-version", Choice(&["TLS1.2", "TLS1.3"]), "", TLS, "Highest TLS version to accept.";
    "cors", List, "*", Refused("a limit on origins"),
        "Origins whose pages may call the HTTP pages.";
    "host-whitelist", List, "*", Refused("a limit on host names"),
        "Host names that HTTP requests may carry.";
    "auth-token", Text, "simple", Refused("signed tokens"),
        "Form of the tokens that log-ins return.";
    "auth-token-ttl", Uint, "300", Ignored("authentication is not built yet"),
        "Seconds that a token stays valid without use.";
    "bcrypt-cost", Uint, "10", Ignored("authentication is not built yet"),
        "Cost of a password hash.";
};

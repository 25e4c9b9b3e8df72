//! Settings of TLS, authentication and origins.
//!
//! Settings that would protect the cluster are refused where they are not built yet, never ignored:
//! a member that starts without the requested protection is worse than one that does not start.

use super::{Class::*, Flag, Group, Kind::*, Setting};

rows! { SECURITY: Security;
    CERT_FILE: &str = "cert-file", Text, "", Used,
        "Certificate to show clients, with its chain, in PEM form. This file, like the other files \
         of TLS, is read again when it changes.";
    KEY_FILE: &str = "key-file", Text, "", Used, "Key of that certificate.";
    _: &str = "client-cert-file", Text, "",
        Ignored("the gateway calls this node inside the process"),
        "Certificate for calls to this cluster's own client port.";
    _: &str = "client-key-file", Text, "",
        Ignored("the gateway calls this node inside the process"),
        "Key of that certificate.";
    CLIENT_CERT_AUTH: bool = "client-cert-auth", Bool, false, Used,
        "Whether clients must show a certificate, signed by an authority in trusted-ca-file, or by \
         one of the system if that is not set. A client without a token is the user that the \
         common name of its certificate names.";
    CLIENT_CRL_FILE: &str = "client-crl-file", Text, "", Used,
        "List of revoked client certificates, in DER or PEM form.";
    CLIENT_CERT_ALLOWED_HOSTNAME: &str = "client-cert-allowed-hostname", List, "", Used,
        "Host names, for one of which client certificates must be valid.";
    TRUSTED_CA_FILE: &str = "trusted-ca-file", Text, "", Used,
        "Authorities that sign client certificates. Clients must show one if this is set.";
    AUTO_TLS: bool = "auto-tls", Bool, false, Used,
        "Whether to make a certificate for clients, unless cert-file is set. It encrypts, and \
         proves nothing.";
    PEER_CERT_FILE: &str = "peer-cert-file", Text, "", Used,
        "Certificate to show other members, with its chain.";
    PEER_KEY_FILE: &str = "peer-key-file", Text, "", Used, "Key of that certificate.";
    PEER_CLIENT_CERT_FILE: &str = "peer-client-cert-file", Text, "", Used,
        "Certificate for calls to other members. Empty means peer-cert-file.";
    PEER_CLIENT_KEY_FILE: &str = "peer-client-key-file", Text, "", Used,
        "Key of that certificate.";
    PEER_CLIENT_CERT_AUTH: bool = "peer-client-cert-auth", Bool, false, Used,
        "Whether other members must show a certificate.";
    PEER_TRUSTED_CA_FILE: &str = "peer-trusted-ca-file", Text, "", Used,
        "Authorities that sign the members' certificates. Members must show a certificate if this \
         is set.";
    PEER_AUTO_TLS: bool = "peer-auto-tls", Bool, false, Used,
        "Whether to make a certificate for peers, unless peer-cert-file is set. Members do not \
         verify each other then, except by cluster-secret-file.";
    PEER_CRL_FILE: &str = "peer-crl-file", Text, "", Used,
        "List of revoked member certificates, in DER or PEM form.";
    PEER_CERT_ALLOWED_CN: &str = "peer-cert-allowed-cn", List, "", Used,
        "Common names, one of which member certificates must have.";
    PEER_CERT_ALLOWED_HOSTNAME: &str = "peer-cert-allowed-hostname", List, "", Used,
        "Host names, for one of which member certificates must be valid.";
    PEER_SKIP_CLIENT_SAN_VERIFICATION: bool = "peer-skip-client-san-verification", Bool, false,
        Used,
        "Whether members may connect from other addresses than those in their certificates.";
    SELF_SIGNED_CERT_VALIDITY: u32 = "self-signed-cert-validity", Uint32, 1, Used,
        "Years that a certificate of auto-tls and peer-auto-tls is valid.";
    CIPHER_SUITES: &str = "cipher-suites", List, "", Used,
        "Cipher suites of TLS 1.2 to accept, by Go's names. Empty means all that are supported.";
    TLS_MIN_VERSION: &str = "tls-min-version", Text, "TLS1.2", Used,
        "Lowest TLS version to accept: TLS1.2 or TLS1.3.";
    TLS_MAX_VERSION: &str = "tls-max-version", Text, "", Used,
        "Highest TLS version to accept: TLS1.2 or TLS1.3. Empty means the highest.";
    CLUSTER_SECRET_FILE: &str = "cluster-secret-file", Text, "", Used,
        "File with a secret, 32 characters or more, by which members recognise each other, with or \
         without TLS. The first line is used; a caller may know any line.";
    CLUSTER_SECRET_OPTIONAL: bool = "cluster-secret-optional", Bool, false, Used,
        "Whether members without a secret are accepted: while the members of a running cluster are \
         given one.";
    CORS: &str = "cors", List, "", Used,
        "Origins whose pages in a browser may read HTTP pages and responses of the JSON gateway. \
         * means all, empty means none.";
    HOST_WHITELIST: &str = "host-whitelist", List, "*", Used,
        "Host names that HTTP requests may carry. * means all.";
    AUTH_TOKEN: &str = "auth-token", Text, "signed", Used,
        "Provider of the tokens that log-ins return, the same on all members: signed, with ttl=D \
         (24h); simple, etcd's default; or jwt, with sign-method=M, priv-key=FILE, pub-key=FILE \
         and ttl=D (5m). Options follow after commas. Empty means no tokens.";
    AUTH_TOKEN_TTL: u64 = "auth-token-ttl", Uint, 300, Used,
        "Seconds that a simple token stays valid without use.";
    BCRYPT_COST: u64 = "bcrypt-cost", Uint, 10, Used,
        "Cost of the hash of a new password, from 4 to 31. One more doubles the time of a log-in.";
    AUDIT_LOG: &str = "audit-log", Text, "stderr", Used,
        "Where a line is written for each administrative act, done or refused: stderr, off, or \
         the path of a file.";
    AUDIT_LOG_MAX_BYTES: u64 = "audit-log-max-bytes", Uint, 100 << 20, Used,
        "Bytes of the file of the audit log at which another is begun. Five older ones are kept. \
         0 means never.";
}

//! `--auth-token`: the provider of tokens and its options, in etcd's syntax.
//!
//! Parses; the key files of `jwt` are read when the node starts.

use std::{path::PathBuf, time::Duration};

use super::duration;

/// How tokens are made and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenProvider {
    /// There are none: only client certificates prove an identity.
    Off,
    /// Sealed with a secret of the cluster; valid on every member for this long.
    Signed {
        /// Time from log-in to the end of the token; positive.
        ttl: Duration,
    },
    /// As `signed`, but valid for as long as they are used.
    Simple {
        /// Time from the latest use to the end of the token; positive.
        ttl: Duration,
    },
    /// JSON web tokens.
    Jwt(JwtOptions),
}

/// How JSON web tokens are made and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtOptions {
    /// File of the key that verifies; derived from the private key unless given.
    pub public_key: Option<PathBuf>,
    /// File of the key that signs; without it, tokens are only verified.
    pub private_key: Option<PathBuf>,
    /// The only `alg` that is used and accepted.
    pub method: JwtMethod,
    /// Time from log-in to the end of the token; positive.
    pub ttl: Duration,
}

/// A method of signing JSON web tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtMethod {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA, PKCS #1 v1.5 padding, SHA-256.
    Rs256,
    /// RSA, PKCS #1 v1.5 padding, SHA-384.
    Rs384,
    /// RSA, PKCS #1 v1.5 padding, SHA-512.
    Rs512,
    /// RSA, PSS padding, SHA-256.
    Ps256,
    /// RSA, PSS padding, SHA-384.
    Ps384,
    /// RSA, PSS padding, SHA-512.
    Ps512,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// ECDSA on P-521.
    Es512,
    /// Ed25519.
    EdDsa,
}

impl JwtMethod {
    /// Every method with its name.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Hs256, "HS256"),
        (Self::Hs384, "HS384"),
        (Self::Hs512, "HS512"),
        (Self::Rs256, "RS256"),
        (Self::Rs384, "RS384"),
        (Self::Rs512, "RS512"),
        (Self::Ps256, "PS256"),
        (Self::Ps384, "PS384"),
        (Self::Ps512, "PS512"),
        (Self::Es256, "ES256"),
        (Self::Es384, "ES384"),
        (Self::Es512, "ES512"),
        (Self::EdDsa, "EdDSA"),
    ];

    /// The name in options and in the `alg` of tokens.
    #[must_use]
    pub fn name(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(method, name)| (method == self).then_some(name))
            .expect("invariant: every method has a name")
    }

    /// Whether both sides share one key, read from the private key's file.
    #[must_use]
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(method, name)| (name == text).then_some(method))
    }
}

/// Life of a signed token. Log-ins are what costs, and a token ends with its password and its user
/// anyway, so this only bounds how long a lost token is good for.
const SIGNED_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Life of a JSON web token, etcd's.
const JWT_TTL: Duration = Duration::from_secs(5 * 60);

/// Longest life of a token: further ahead no clock is to be trusted.
const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Parses the value; `simple_ttl` is that of `simple` tokens.
///
/// # Errors
/// The expected form, as a lower-case fragment.
pub(super) fn parse(text: &str, simple_ttl: Duration) -> Result<TokenProvider, String> {
    let mut parts = text.split(',');
    let provider = parts.next().unwrap_or_default();
    let mut options = Options::default();
    for part in parts {
        options.take(part)?;
    }
    match provider {
        "" if text.is_empty() => Ok(TokenProvider::Off),
        "signed" => options.signed(),
        // etcd ignores options of simple tokens; an option here is a mistake.
        "simple" => options
            .only("simple", &[])
            .map(|()| TokenProvider::Simple { ttl: simple_ttl }),
        "jwt" => options.jwt(),
        _ => Err(invalid(format_args!(
            "{provider:?} is not one of signed, simple and jwt"
        ))),
    }
}

/// The text about a bad value: etcd's first, which scripts look for.
fn invalid(remedy: std::fmt::Arguments<'_>) -> String {
    format!("auth: invalid auth options: {remedy}")
}

/// The options after the provider.
#[derive(Debug, Default)]
struct Options {
    public_key: Option<PathBuf>,
    private_key: Option<PathBuf>,
    method: Option<JwtMethod>,
    ttl: Option<Duration>,
}

impl Options {
    fn take(&mut self, part: &str) -> Result<(), String> {
        let Some((name, value)) = part.split_once('=') else {
            return Err(invalid(format_args!("{part:?} must be written NAME=VALUE")));
        };
        let again = match name {
            "pub-key" => self.public_key.replace(PathBuf::from(value)).is_some(),
            "priv-key" => self.private_key.replace(PathBuf::from(value)).is_some(),
            "sign-method" => {
                let method = JwtMethod::parse(value).ok_or_else(|| {
                    let names = JwtMethod::ALL.map(|(_, name)| name).join(", ");
                    invalid(format_args!("sign-method must be one of {names}"))
                })?;
                self.method.replace(method).is_some()
            }
            "ttl" => {
                let ttl = duration::parse(value)
                    .filter(|ttl| !ttl.is_zero() && *ttl <= TTL_MAX)
                    .ok_or_else(|| invalid(format_args!("ttl must be a duration such as 10m")))?;
                self.ttl.replace(ttl).is_some()
            }
            _ => {
                return Err(invalid(format_args!(
                    "{name:?} is not one of pub-key, priv-key, sign-method and ttl"
                )));
            }
        };
        if again {
            return Err(invalid(format_args!("{name} stands twice")));
        }
        Ok(())
    }

    /// Refuses options that the provider has not.
    fn only(&self, provider: &str, known: &[&str]) -> Result<(), String> {
        let given = [
            ("pub-key", self.public_key.is_some()),
            ("priv-key", self.private_key.is_some()),
            ("sign-method", self.method.is_some()),
            ("ttl", self.ttl.is_some()),
        ];
        for (name, given) in given {
            if given && !known.contains(&name) {
                return Err(invalid(format_args!("{provider} has no option {name}")));
            }
        }
        Ok(())
    }

    fn signed(self) -> Result<TokenProvider, String> {
        self.only("signed", &["ttl"])?;
        Ok(TokenProvider::Signed {
            ttl: self.ttl.unwrap_or(SIGNED_TTL),
        })
    }

    fn jwt(self) -> Result<TokenProvider, String> {
        let Some(method) = self.method else {
            return Err(invalid(format_args!("jwt needs a sign-method")));
        };
        if method.is_symmetric() && self.private_key.is_none() {
            let name = method.name();
            return Err(invalid(format_args!("{name} needs a priv-key")));
        }
        if self.public_key.is_none() && self.private_key.is_none() {
            return Err(invalid(format_args!("jwt needs a pub-key or a priv-key")));
        }
        Ok(TokenProvider::Jwt(JwtOptions {
            public_key: self.public_key,
            private_key: self.private_key,
            method,
            ttl: self.ttl.unwrap_or(JWT_TTL),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn parsed(text: &str) -> Result<TokenProvider, String> {
        parse(text, TTL)
    }

    #[test]
    fn every_provider_is_read_with_its_options() {
        assert_eq!(parsed(""), Ok(TokenProvider::Off));
        assert_eq!(parsed("simple"), Ok(TokenProvider::Simple { ttl: TTL }));
        let ttl = Duration::from_secs(24 * 3600);
        assert_eq!(parsed("signed"), Ok(TokenProvider::Signed { ttl }));
        let ttl = Duration::from_secs(60);
        assert_eq!(parsed("signed,ttl=1m"), Ok(TokenProvider::Signed { ttl }));
        assert_eq!(
            parsed("jwt,pub-key=a,priv-key=b,sign-method=RS256,ttl=10m"),
            Ok(TokenProvider::Jwt(JwtOptions {
                public_key: Some("a".into()),
                private_key: Some("b".into()),
                method: JwtMethod::Rs256,
                ttl: Duration::from_secs(600),
            }))
        );
        let Ok(TokenProvider::Jwt(jwt)) = parsed("jwt,sign-method=EdDSA,pub-key=a") else {
            panic!("verification alone is possible");
        };
        assert_eq!((jwt.private_key, jwt.ttl), (None, JWT_TTL));
    }

    #[test]
    fn bad_options_are_refused_with_etcds_text_and_the_reason() {
        for (text, expected) in [
            ("jwt", "jwt needs a sign-method"),
            ("jwt,sign-method=RS256", "needs a pub-key or a priv-key"),
            ("jwt,sign-method=none,pub-key=a", "must be one of HS256"),
            ("jwt,sign-method=HS256,pub-key=a", "HS256 needs a priv-key"),
            (
                "jwt,sign-method=RS256,pub-key",
                "must be written NAME=VALUE",
            ),
            ("jwt,sign-method=RS256,key=a", "is not one of pub-key"),
            ("jwt,sign-method=RS256,ttl=5", "must be a duration"),
            ("jwt,sign-method=RS256,ttl=0s", "must be a duration"),
            ("jwt,sign-method=RS256,ttl=1000000h", "must be a duration"),
            ("jwt,pub-key=a,pub-key=b", "pub-key stands twice"),
            ("simple,ttl=5m", "simple has no option ttl"),
            ("signed,pub-key=a", "signed has no option pub-key"),
            ("opaque", "is not one of signed, simple and jwt"),
            (",ttl=5m", "is not one of signed, simple and jwt"),
        ] {
            let said = parsed(text).unwrap_err();
            assert!(said.starts_with("auth: invalid auth options: "), "{said}");
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}

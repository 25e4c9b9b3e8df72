//! Finds out who makes a call, from its metadata and its connection.

use http::{HeaderMap, HeaderName};
use tenure_statemachine::{ClusterTime, ReadError, Reader, Refusal};

use super::Caller;
use crate::{
    auth::{Auth, tokens::TokenSecret},
    transport::ConnectionInfo,
};

/// etcd's clients send the token under the first, HTTP clients under the second.
static TOKEN_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("token"),
    HeaderName::from_static("authorization"),
];
/// May stand before a token.
const BEARER: &str = "Bearer ";
/// Marks calls that came through the JSON gateway: their connection is the gateway's client's, but
/// a certificate there does not name a user, as in etcd.
const GATEWAY_HEADER: HeaderName = HeaderName::from_static("grpcgateway-accept");

/// Returns who makes a call with these headers. While authentication is disabled they are not
/// looked at.
///
/// # Errors
/// [`Refusal::InvalidAuthToken`] when there is a token and it is not good; whether its user still
/// exists is checked with the needs of the call.
pub(super) fn identify(
    auth: &Auth,
    now: ClusterTime,
    reader: &Reader<'_>,
    headers: &HeaderMap,
    connection: Option<&ConnectionInfo>,
) -> Result<Caller, ReadError> {
    if !reader.meta().authenticates {
        return Ok(Caller::Nobody);
    }
    let state = reader.auth()?;
    let proven = |user, basis| Caller::user(user, basis, state.enabled_at);
    if let Some(token) = token(headers)? {
        // After a restore there is no secret until the first log-in.
        let secret = reader.token_secret()?;
        let secret = secret.and_then(|secret| TokenSecret::from_slice(&secret));
        let secret = secret.ok_or(Refusal::InvalidAuthToken)?;
        let claims = auth.tokens.verify(token, &secret, now);
        let claims = claims.map_err(|_| Refusal::InvalidAuthToken)?;
        return Ok(proven(claims.user, Some(claims.basis)));
    }
    let is_gateways = headers.contains_key(GATEWAY_HEADER);
    let name = certified(auth, connection).filter(|_| !is_gateways);
    Ok(name.map_or(Caller::Nobody, |name| proven(name.to_owned(), None)))
}

/// Whether a call came through the gateway from a client whose certificate would name a user
/// elsewhere. Refused as in etcd: the client would be taken for nobody, which it does not expect.
pub(super) fn is_certified_gateway_call(
    auth: &Auth,
    headers: &HeaderMap,
    connection: Option<&ConnectionInfo>,
) -> bool {
    headers.contains_key(GATEWAY_HEADER) && certified(auth, connection).is_some()
}

/// The token of a call; the first one counts.
fn token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = TOKEN_HEADERS.iter().filter_map(|name| headers.get(name));
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let value = value.to_str().map_err(|_| Refusal::InvalidAuthToken)?;
    Ok(Some(value.strip_prefix(BEARER).unwrap_or(value)))
}

/// The user that the client's certificate names.
fn certified<'a>(auth: &Auth, connection: Option<&'a ConnectionInfo>) -> Option<&'a str> {
    let identity = connection
        .filter(|_| auth.certificates_name_users)?
        .identity()?;
    identity.common_name.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn a_token_is_found_under_either_name_and_without_its_scheme() {
        for (pairs, expected) in [
            (&[][..], None),
            (&[("token", "t")], Some("t")),
            (&[("authorization", "t")], Some("t")),
            (&[("authorization", "Bearer t")], Some("t")),
            (&[("token", "Bearer t")], Some("t")),
            (&[("authorization", "bearer t")], Some("bearer t")),
            (&[("authorization", "a"), ("token", "t")], Some("t")),
            (&[("token", "one"), ("token", "two")], Some("one")),
            (&[("token", "")], Some("")),
        ] {
            assert_eq!(token(&headers(pairs)).unwrap(), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_token_that_is_no_text_is_not_good() {
        let mut headers = HeaderMap::new();
        let opaque = http::HeaderValue::from_bytes(b"\xff").expect("opaque bytes");
        headers.insert("token", opaque);
        assert_eq!(token(&headers), Err(Refusal::InvalidAuthToken));
    }
}

//! The headers that carry a token to a service, and the answer to a request without a valid one.
//!
//! The gate decides about admission.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::gate::{FenceError, FenceGate, Pass};
use crate::id::Token;

/// Header of the token, in decimal.
pub const FENCE_TOKEN: HeaderName = HeaderName::from_static("x-fence-token");
/// Header of the lock's name. May be left out where a service is fenced by one lock.
pub const FENCE_NAME: HeaderName = HeaderName::from_static("x-fence-name");
/// Header of an answer that refuses a stale token: the greatest token seen.
pub const FENCE_CURRENT: HeaderName = HeaderName::from_static("x-fence-current");

/// Why a request was rejected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FenceRejection {
    /// The header of the token, or of a required name, is missing.
    #[error("header {0} is missing: this service takes requests of a lock's holder only")]
    Missing(HeaderName),
    /// A header is repeated or malformed.
    #[error("header {0} is malformed: {1}")]
    Malformed(HeaderName, &'static str),
    /// The request names a lock other than that of the service.
    #[error("this service is fenced by {expected:?}, not by {named:?}")]
    OtherLock {
        /// The lock that fences the service.
        expected: String,
        /// The lock that the request names.
        named: String,
    },
    /// The token was not admitted.
    #[error(transparent)]
    Refused(#[from] FenceError),
}

impl FenceRejection {
    /// The status: 428 without a token, 400 for a malformed one, 412 for a stale one, 503 when the
    /// gate cannot store its mark or is full.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Missing(_) => StatusCode::PRECONDITION_REQUIRED,
            Self::Malformed(..) | Self::OtherLock { .. } => StatusCode::BAD_REQUEST,
            Self::Refused(FenceError::NotAToken(..)) => StatusCode::BAD_REQUEST,
            Self::Refused(FenceError::Stale { .. }) => StatusCode::PRECONDITION_FAILED,
            Self::Refused(FenceError::TooManyNames | FenceError::Marks { .. }) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The HTTP response, with the current token in a header when the token was stale.
    pub fn into_answer<Body: From<String>>(self) -> Response<Body> {
        let mut answer = Response::new(Body::from(format!("{self}\n")));
        *answer.status_mut() = self.status();
        if let Self::Refused(FenceError::Stale { current, .. }) = self {
            let current = HeaderValue::from(current.get());
            answer.headers_mut().insert(FENCE_CURRENT, current);
        }
        answer
    }
}

/// Admits a request by its headers. `lock` fences all of the service; without it, the request
/// names its lock.
pub(super) async fn admit(
    gate: &FenceGate,
    lock: Option<&str>,
    headers: &HeaderMap,
) -> Result<Pass, FenceRejection> {
    let (name, token) = read(lock, headers)?;
    Ok(gate.admit(name, token).await?)
}

fn read(lock: Option<&str>, headers: &HeaderMap) -> Result<(String, Token), FenceRejection> {
    let token = only(headers, FENCE_TOKEN)?.ok_or(FenceRejection::Missing(FENCE_TOKEN))?;
    let token: Token = token.parse().map_err(|_| {
        FenceRejection::Malformed(FENCE_TOKEN, "expected a whole number above zero")
    })?;
    let name = match (lock, only(headers, FENCE_NAME)?) {
        (Some(expected), Some(named)) if named != expected => {
            return Err(FenceRejection::OtherLock {
                expected: expected.to_owned(),
                named: named.to_owned(),
            });
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => return Err(FenceRejection::Missing(FENCE_NAME)),
    };
    Ok((name.to_owned(), token))
}

/// The one value of a header. Two would let a proxy and a service read different ones.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, FenceRejection> {
    let mut values = headers.get_all(&name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(FenceRejection::Malformed(name, "the header is repeated"));
    }
    let Some(value) = first else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|text| !text.is_empty());
    let text = text.ok_or(FenceRejection::Malformed(name, "expected printable text"))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "x-fence-token";
    const NAME: &str = "x-fence-name";

    /// Headers, and the expected status and text.
    type Row<'a> = (&'a [(&'static str, &'a str)], u16, &'a str);

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn every_fault_of_the_headers_has_its_status_and_text() {
        let table: &[Row<'_>] = &[
            (
                &[(NAME, "a")],
                428,
                "header x-fence-token is missing: this service takes requests of a lock's holder \
                 only",
            ),
            (
                &[(TOKEN, "7")],
                428,
                "header x-fence-name is missing: this service takes requests of a lock's holder \
                 only",
            ),
            (
                &[(NAME, "a"), (TOKEN, "seven")],
                400,
                "header x-fence-token is malformed: expected a whole number above zero",
            ),
            (
                &[(NAME, "a"), (TOKEN, "7"), (TOKEN, "8")],
                400,
                "header x-fence-token is malformed: the header is repeated",
            ),
            (
                &[(NAME, ""), (TOKEN, "7")],
                400,
                "header x-fence-name is malformed: expected printable text",
            ),
        ];
        for (pairs, status, text) in table {
            let rejection = read(None, &headers(pairs)).unwrap_err();
            assert_eq!(rejection.status().as_u16(), *status, "{rejection}");
            assert_eq!(rejection.to_string(), *text);
        }
        let other = headers(&[(NAME, "b"), (TOKEN, "7")]);
        let rejection = read(Some("a"), &other).unwrap_err();
        assert_eq!(
            rejection.to_string(),
            "this service is fenced by \"a\", not by \"b\""
        );
    }

    #[test]
    fn a_service_of_one_lock_needs_no_name() {
        let (name, token) = read(Some("a"), &headers(&[(TOKEN, "7")])).unwrap();
        assert_eq!((name.as_str(), token), ("a", Token::new(7)));
    }
}

//! The request that turns a connection into a WebSocket, and the response to it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{
        AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use sha1::{Digest as _, Sha1};

use crate::rpc::gateway::{
    Access,
    response::{self, ResponseBody},
};

/// What a server adds to the client's key (RFC 6455).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of the client's key.
const KEY_BYTES: usize = 16;
/// The one version of the protocol.
const PROTOCOL_VERSION: HeaderValue = HeaderValue::from_static("13");
/// The name of the protocol, and of the subprotocol that carries a token: a page cannot set other
/// headers. etcd's.
const WEBSOCKET: &str = "websocket";
const BEARER: &str = "Bearer";

const ORIGIN_REFUSED: &str = "pages of this origin may not open WebSockets; --cors lists those \
                              that may\n";
const KEY_MISSING: &str = "Sec-WebSocket-Key must be 16 bytes in base64\n";
const VERSION_REFUSED: &str = "version 13 of the WebSocket protocol is served\n";

/// Whether a request asks for a WebSocket.
pub(in crate::rpc::gateway) fn is_asked<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && has_word(request.headers(), &UPGRADE, WEBSOCKET)
        && has_word(request.headers(), &CONNECTION, "upgrade")
}

/// A request that is granted.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rpc::gateway) struct Handshake {
    accept: HeaderValue,
    /// The header `Authorization` of the call, from the subprotocols.
    authorization: Option<HeaderValue>,
}

impl Handshake {
    /// Checks a request with these headers.
    ///
    /// # Errors
    /// The response that refuses it.
    pub(in crate::rpc::gateway) fn new<R>(
        headers: &HeaderMap,
        access: &Access,
    ) -> Result<Self, Box<Response<ResponseBody<R>>>> {
        if !access.allows_socket(headers) {
            return Err(refused(StatusCode::FORBIDDEN, ORIGIN_REFUSED));
        }
        if headers.get(SEC_WEBSOCKET_VERSION) != Some(&PROTOCOL_VERSION) {
            let mut page = refused(StatusCode::UPGRADE_REQUIRED, VERSION_REFUSED);
            let headers = page.headers_mut();
            headers.insert(SEC_WEBSOCKET_VERSION, PROTOCOL_VERSION);
            return Err(page);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY);
        let accept = key.and_then(accept);
        let accept = accept.ok_or_else(|| refused(StatusCode::BAD_REQUEST, KEY_MISSING))?;
        Ok(Self {
            accept,
            authorization: authorization(headers),
        })
    }

    /// Adds what the subprotocols say to the metadata of the call.
    pub(in crate::rpc::gateway) fn authorize(&self, metadata: &mut HeaderMap) {
        if let Some(authorization) = &self.authorization {
            metadata.insert(AUTHORIZATION, authorization.clone());
        }
    }

    /// The response that ends HTTP on the connection.
    pub(in crate::rpc::gateway) fn response<R>(self) -> Response<ResponseBody<R>> {
        let mut response = response::page(StatusCode::SWITCHING_PROTOCOLS, "");
        let headers = response.headers_mut();
        headers.clear();
        headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        if self.authorization.is_some() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(BEARER));
        }
        response
    }
}

fn refused<R>(status: StatusCode, text: &'static str) -> Box<Response<ResponseBody<R>>> {
    Box::new(response::page(status, text))
}

/// The answer to a client's key; `None` when that is none.
fn accept(key: &HeaderValue) -> Option<HeaderValue> {
    let key = key.as_bytes().trim_ascii();
    if STANDARD.decode(key).ok()?.len() != KEY_BYTES {
        return None;
    }
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_SUFFIX);
    HeaderValue::from_str(&STANDARD.encode(digest.finalize())).ok()
}

/// The token in the subprotocols `Bearer, TOKEN`.
fn authorization(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut words = words(headers, &SEC_WEBSOCKET_PROTOCOL);
    words.find(|word| *word == BEARER)?;
    HeaderValue::from_str(&format!("{BEARER} {}", words.next()?)).ok()
}

fn has_word(headers: &HeaderMap, name: &HeaderName, expected: &str) -> bool {
    words(headers, name).any(|word| word.eq_ignore_ascii_case(expected))
}

/// The words of a list in a header.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::header::ORIGIN;

    use super::*;

    /// The key of the example in RFC 6455.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), *value));
        let pairs = pairs.map(|(name, value)| (name, HeaderValue::from_static(value)));
        HeaderMap::from_iter(pairs)
    }

    fn asked(more: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut asked = headers(&[(SEC_WEBSOCKET_VERSION, "13"), (SEC_WEBSOCKET_KEY, KEY)]);
        asked.extend(headers(more));
        asked
    }

    fn shake(headers: &HeaderMap) -> Result<Handshake, StatusCode> {
        let shaken = Handshake::new::<()>(headers, &Access::default());
        shaken.map_err(|page| page.status())
    }

    #[test]
    fn the_answer_to_the_key_is_that_of_the_rfc() {
        let response = shake(&asked(&[])).unwrap().response::<()>();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
        assert_eq!(accepted.unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(response.headers().get(SEC_WEBSOCKET_PROTOCOL).is_none());
    }

    #[test]
    fn a_token_among_the_subprotocols_is_the_authorization_of_the_call() {
        let handshake = shake(&asked(&[(SEC_WEBSOCKET_PROTOCOL, "Bearer, a.b")])).unwrap();
        let mut metadata = HeaderMap::new();
        handshake.authorize(&mut metadata);
        assert_eq!(metadata.get(AUTHORIZATION).unwrap(), "Bearer a.b");
        let response = handshake.response::<()>();
        assert_eq!(
            response.headers().get(SEC_WEBSOCKET_PROTOCOL).unwrap(),
            BEARER
        );
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        let other_version = headers(&[(SEC_WEBSOCKET_VERSION, "8"), (SEC_WEBSOCKET_KEY, KEY)]);
        assert_eq!(
            shake(&other_version).unwrap_err(),
            StatusCode::UPGRADE_REQUIRED
        );
        let no_key = headers(&[(SEC_WEBSOCKET_VERSION, "13")]);
        assert_eq!(shake(&no_key).unwrap_err(), StatusCode::BAD_REQUEST);
        let short = headers(&[
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, "c2hvcnQ="),
        ]);
        assert_eq!(shake(&short).unwrap_err(), StatusCode::BAD_REQUEST);
        let foreign = asked(&[(ORIGIN, "https://evil.example")]);
        assert_eq!(shake(&foreign).unwrap_err(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn only_an_upgrade_of_http_1_1_asks_for_a_websocket() {
        let request = |version, method, upgrade, connection| {
            let mut request = Request::new(());
            *request.version_mut() = version;
            *request.method_mut() = method;
            *request.headers_mut() = headers(&[(UPGRADE, upgrade), (CONNECTION, connection)]);
            request
        };
        let (one, get) = (Version::HTTP_11, Method::GET);
        let good = request(one, get.clone(), "WebSocket", "keep-alive, Upgrade");
        assert!(is_asked(&good));
        for other in [
            request(Version::HTTP_2, get.clone(), "websocket", "upgrade"),
            request(one, Method::POST, "websocket", "upgrade"),
            request(one, get.clone(), "h2c", "upgrade"),
            request(one, get, "websocket", "close"),
        ] {
            assert!(!is_asked(&other), "{other:?}");
        }
    }
}

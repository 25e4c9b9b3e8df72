//! Headers of HTTP to metadata of a call, and metadata of a response to headers.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use tenure_proto::metadata::{OWN_METADATA_PREFIX, RETRY_METADATA, TIMEOUT_METADATA};

/// The prefix of headers that carry metadata.
const METADATA_PREFIX: &str = "grpc-metadata-";
/// Metadata by which a call is known to come through the gateway: the name of a certificate does
/// not stand for its caller then. etcd's name.
const GATEWAY_MARK: HeaderName = HeaderName::from_static("grpcgateway-accept");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const ANY: HeaderValue = HeaderValue::from_static("*/*");
/// Prefixes of metadata that is the transport's or the gateway's, and no caller's.
const RESERVED_PREFIXES: [&str; 2] = ["grpc-", "grpcgateway-"];
/// Metadata that HTTP gives a meaning of its own.
const RESERVED: [&str; 7] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
];

/// The metadata of a call, from the headers of its request.
pub(super) fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    metadata.insert(CONTENT_TYPE, GRPC);
    for (name, value) in headers {
        let carried = name.as_str().strip_prefix(METADATA_PREFIX);
        let carried = carried.filter(|name| !is_reserved(name));
        if let Some(name) = carried.and_then(|it| HeaderName::from_bytes(it.as_bytes()).ok()) {
            metadata.append(name, value.clone());
        }
    }
    for name in [AUTHORIZATION, HeaderName::from_static(TIMEOUT_METADATA)] {
        if let Some(value) = headers.get(&name) {
            metadata.insert(name, value.clone());
        }
    }
    metadata.insert(GATEWAY_MARK, headers.get(ACCEPT).cloned().unwrap_or(ANY));
    metadata
}

/// Adds the metadata of a response, or of its end, to its headers.
pub(super) fn carry(metadata: &HeaderMap, headers: &mut HeaderMap) {
    let mut add = |name: &str, value: &HeaderValue| {
        let name = format!("{METADATA_PREFIX}{name}");
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            headers.append(name, value.clone());
        }
    };
    add(CONTENT_TYPE.as_str(), &GRPC);
    for (name, value) in metadata {
        if name.as_str().starts_with(OWN_METADATA_PREFIX) || name == RETRY_METADATA {
            add(name.as_str(), value);
        }
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|it| name.starts_with(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_what_is_meant_for_the_call_becomes_metadata() {
        let request = headers(&[
            ("authorization", "token"),
            ("grpc-timeout", "1S"),
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-tenure-guard", "a=1"),
            ("grpc-metadata-tenure-guard", "b=2"),
            ("grpc-metadata-content-type", "text/plain"),
            ("grpc-metadata-grpc-timeout", "9H"),
            ("grpc-metadata-grpcgateway-accept", "x"),
            ("grpc-metadata-te", "x"),
            ("grpc-metadata-", "x"),
            ("content-type", "application/json"),
            ("content-length", "7"),
            ("cookie", "a=b"),
            ("accept", "application/json"),
        ]);
        let expected = headers(&[
            ("content-type", "application/grpc"),
            ("authorization", "token"),
            ("grpc-timeout", "1S"),
            ("hasleader", "true"),
            ("tenure-guard", "a=1"),
            ("tenure-guard", "b=2"),
            ("grpcgateway-accept", "application/json"),
        ]);
        assert_eq!(metadata(&request), expected);
        let mark = metadata(&HeaderMap::new()).get(GATEWAY_MARK).cloned();
        assert_eq!(mark, Some(ANY), "every call is marked");
    }

    #[test]
    fn own_metadata_of_a_response_becomes_headers() {
        let metadata = headers(&[
            ("tenure-outcome", "unknown"),
            ("grpc-retry-pushback-ms", "100"),
            ("grpc-status", "0"),
            ("content-type", "application/grpc"),
            ("date", "today"),
        ]);
        let mut found = HeaderMap::new();
        carry(&metadata, &mut found);
        let expected = headers(&[
            ("grpc-metadata-content-type", "application/grpc"),
            ("grpc-metadata-tenure-outcome", "unknown"),
            ("grpc-metadata-grpc-retry-pushback-ms", "100"),
        ]);
        assert_eq!(found, expected);
    }
}

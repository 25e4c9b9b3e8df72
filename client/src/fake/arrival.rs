//! A received call, with the contents of its metadata.

use bytes::Bytes;
use prost::Message;
use tenure_proto::{
    metadata::{
        GUARD_BYTES_METADATA, IDEMPOTENCY_KEY_METADATA, REQUEST_METADATA, REQUIRE_LEADER_METADATA,
        TIMEOUT_METADATA, TOKEN_METADATA,
    },
    v1,
};
use tonic::metadata::MetadataMap;

/// A received call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrival {
    pub(crate) node: usize,
    pub(crate) call: &'static str,
    /// Names and tokens.
    pub(crate) guards: Vec<(Bytes, i64)>,
    /// Session, sequence number and watermark.
    pub(crate) request: Option<(i64, u64, u64)>,
    pub(crate) idempotency_key: Option<String>,
    /// In gRPC's text format.
    pub(crate) timeout: Option<String>,
    /// Whether the call must be refused without a leader.
    pub(crate) leader: bool,
    /// The authentication token.
    pub(crate) token: Option<String>,
}

impl Arrival {
    pub(super) fn read(node: usize, call: &'static str, metadata: &MetadataMap) -> Self {
        let text = |key: &str| {
            let value = metadata.get(key)?;
            Some(value.to_str().expect("the client sends text").to_owned())
        };
        let guards = metadata
            .get_all_bin(GUARD_BYTES_METADATA)
            .iter()
            .map(|value| {
                let bytes = value.to_bytes().expect("a guard is Base64");
                let guard = v1::Guard::decode(bytes).expect("a guard decodes");
                (guard.name, guard.token)
            });
        let request = text(REQUEST_METADATA).map(|id| request_id(&id).expect("an id has its form"));
        Self {
            node,
            call,
            guards: guards.collect(),
            request,
            idempotency_key: text(IDEMPOTENCY_KEY_METADATA),
            timeout: text(TIMEOUT_METADATA),
            leader: text(REQUIRE_LEADER_METADATA).is_some_and(|leader| leader == "true"),
            token: text(TOKEN_METADATA),
        }
    }
}

fn request_id(text: &str) -> Option<(i64, u64, u64)> {
    let mut parts = text.split('.');
    let session = i64::from_str_radix(parts.next()?, 16).ok()?;
    Some((
        session,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
    ))
}

//! The methods served, read from the protobuf descriptors so that none is missing.
//!
//! Reads only names and streaming directions, not the message types.

use std::collections::HashSet;

use prost::Message;
use prost_types::FileDescriptorSet;

/// One method of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Method {
    /// Name of the service, with its package.
    pub(super) service: String,
    /// Name of the method.
    pub(super) name: String,
    /// Kind of streaming, in etcd's terms: `unary`, `client_stream`, `server_stream`,
    /// `bidi_stream`.
    pub(super) kind: &'static str,
}

impl Method {
    /// Returns the path of its calls.
    pub(super) fn path(&self) -> String {
        format!("/{}/{}", self.service, self.name)
    }

    fn new(service: &str, name: &str, client_streams: bool, server_streams: bool) -> Self {
        let kind = match (client_streams, server_streams) {
            (false, false) => "unary",
            (true, false) => "client_stream",
            (false, true) => "server_stream",
            (true, true) => "bidi_stream",
        };
        Self {
            service: service.to_owned(),
            name: name.to_owned(),
            kind,
        }
    }
}

/// Returns every method of the client port.
pub(super) fn served() -> Vec<Method> {
    let mut methods = from_descriptors(tenure_proto::PUBLIC_DESCRIPTOR_SET);
    methods.push(Method::new("grpc.health.v1.Health", "Check", false, false));
    methods.push(Method::new("grpc.health.v1.Health", "Watch", false, true));
    methods
}

/// Returns the paths of the methods whose request is a single message.
pub(crate) fn paths_of_whole_requests() -> HashSet<String> {
    let whole = served();
    let whole = whole
        .iter()
        .filter(|method| matches!(method.kind, "unary" | "server_stream"));
    whole.map(Method::path).collect()
}

/// Unary methods whose calls wait for others, without a deadline of the server's.
const WAITING: [&str; 2] = ["/v3lockpb.Lock/Lock", "/v3electionpb.Election/Campaign"];

/// Returns the paths of the methods whose calls end by themselves, within their deadline.
pub(crate) fn paths_of_short_calls() -> HashSet<String> {
    let unary = served();
    let unary = unary.iter().filter(|method| method.kind == "unary");
    let short = unary.map(Method::path);
    short
        .filter(|path| !WAITING.contains(&path.as_str()))
        .collect()
}

fn from_descriptors(bytes: &[u8]) -> Vec<Method> {
    let set = FileDescriptorSet::decode(bytes)
        .expect("invariant: the descriptors are made by the build of the wire");
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let full = match file.package() {
                "" => service.name().to_owned(),
                package => format!("{package}.{}", service.name()),
            };
            methods.extend(service.method.iter().map(|method| {
                Method::new(
                    &full,
                    method.name(),
                    method.client_streaming(),
                    method.server_streaming(),
                )
            }));
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_of_etcd_are_found_with_their_directions() {
        let served = served();
        let kind = |path: &str| served.iter().find(|it| it.path() == path).map(|it| it.kind);
        assert_eq!(kind("/etcdserverpb.KV/Put"), Some("unary"));
        assert_eq!(kind("/etcdserverpb.Watch/Watch"), Some("bidi_stream"));
        assert_eq!(
            kind("/etcdserverpb.Lease/LeaseKeepAlive"),
            Some("bidi_stream")
        );
        assert_eq!(
            kind("/etcdserverpb.Maintenance/Snapshot"),
            Some("server_stream")
        );
        assert_eq!(kind("/v3lockpb.Lock/Lock"), Some("unary"));
        assert_eq!(kind("/grpc.health.v1.Health/Check"), Some("unary"));
    }
}

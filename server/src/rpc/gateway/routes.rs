//! The one table of paths: which path calls which method.
//!
//! etcd's paths are contract. Those of tenure's own services follow from the names:
//! `/v1/<service>/<method>`, both in lower case with hyphens, such as `/v1/lock/try-acquire`.
//!
//! Invariant: every method of the client port has a path, or is in `WITHOUT_PATH` with the reason.

use std::collections::HashMap;

use http::Uri;
use tenure_json::{MessageId, Method, Schema};

/// The paths of etcd's services below `/v3/`, and their methods.
const ETCD: &[(&str, &str)] = &[
    ("kv/range", "etcdserverpb.KV/Range"),
    ("kv/put", "etcdserverpb.KV/Put"),
    ("kv/deleterange", "etcdserverpb.KV/DeleteRange"),
    ("kv/txn", "etcdserverpb.KV/Txn"),
    ("kv/compaction", "etcdserverpb.KV/Compact"),
    ("watch", "etcdserverpb.Watch/Watch"),
    ("lease/grant", "etcdserverpb.Lease/LeaseGrant"),
    ("lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("kv/lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("lease/keepalive", "etcdserverpb.Lease/LeaseKeepAlive"),
    ("lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("kv/lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("kv/lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("cluster/member/add", "etcdserverpb.Cluster/MemberAdd"),
    ("cluster/member/remove", "etcdserverpb.Cluster/MemberRemove"),
    ("cluster/member/update", "etcdserverpb.Cluster/MemberUpdate"),
    ("cluster/member/list", "etcdserverpb.Cluster/MemberList"),
    (
        "cluster/member/promote",
        "etcdserverpb.Cluster/MemberPromote",
    ),
    ("maintenance/alarm", "etcdserverpb.Maintenance/Alarm"),
    ("maintenance/status", "etcdserverpb.Maintenance/Status"),
    (
        "maintenance/defragment",
        "etcdserverpb.Maintenance/Defragment",
    ),
    ("maintenance/hash", "etcdserverpb.Maintenance/Hash"),
    ("maintenance/hashkv", "etcdserverpb.Maintenance/HashKV"),
    ("maintenance/snapshot", "etcdserverpb.Maintenance/Snapshot"),
    (
        "maintenance/transfer-leadership",
        "etcdserverpb.Maintenance/MoveLeader",
    ),
    (
        "maintenance/downgrade",
        "etcdserverpb.Maintenance/Downgrade",
    ),
    ("auth/enable", "etcdserverpb.Auth/AuthEnable"),
    ("auth/disable", "etcdserverpb.Auth/AuthDisable"),
    ("auth/status", "etcdserverpb.Auth/AuthStatus"),
    ("auth/authenticate", "etcdserverpb.Auth/Authenticate"),
    ("auth/user/add", "etcdserverpb.Auth/UserAdd"),
    ("auth/user/get", "etcdserverpb.Auth/UserGet"),
    ("auth/user/list", "etcdserverpb.Auth/UserList"),
    ("auth/user/delete", "etcdserverpb.Auth/UserDelete"),
    ("auth/user/changepw", "etcdserverpb.Auth/UserChangePassword"),
    ("auth/user/grant", "etcdserverpb.Auth/UserGrantRole"),
    ("auth/user/revoke", "etcdserverpb.Auth/UserRevokeRole"),
    ("auth/role/add", "etcdserverpb.Auth/RoleAdd"),
    ("auth/role/get", "etcdserverpb.Auth/RoleGet"),
    ("auth/role/list", "etcdserverpb.Auth/RoleList"),
    ("auth/role/delete", "etcdserverpb.Auth/RoleDelete"),
    ("auth/role/grant", "etcdserverpb.Auth/RoleGrantPermission"),
    ("auth/role/revoke", "etcdserverpb.Auth/RoleRevokePermission"),
    ("lock/lock", "v3lockpb.Lock/Lock"),
    ("lock/unlock", "v3lockpb.Lock/Unlock"),
    ("election/campaign", "v3electionpb.Election/Campaign"),
    ("election/proclaim", "v3electionpb.Election/Proclaim"),
    ("election/leader", "v3electionpb.Election/Leader"),
    ("election/observe", "v3electionpb.Election/Observe"),
    ("election/resign", "v3electionpb.Election/Resign"),
];

/// Methods without a path, and why.
#[cfg(test)]
const WITHOUT_PATH: &[(&str, &str)] = &[(
    "etcdserverpb.KV/RangeStream",
    "etcd has none for it; a response of kv/range is sent in pieces anyway",
)];

/// The prefixes of etcd's paths. The second is of older clients.
const ETCD_PREFIXES: [&str; 2] = ["/v3/", "/v3beta/"];
/// The prefix of the paths of tenure's own services.
const OWN_PREFIX: &str = "/v1/";
/// The package of tenure's own services.
const OWN_PACKAGE: &str = "tenure.v1.";

/// A method with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// The path of its gRPC calls.
    pub(super) grpc: Uri,
    pub(super) input: MessageId,
    pub(super) output: MessageId,
    /// Whether a call may have any number of requests.
    pub(super) client_streaming: bool,
    /// Whether a call may have any number of responses.
    pub(super) server_streaming: bool,
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Method(&'a Route),
    /// The path is the gateway's, and calls nothing.
    Nothing,
    /// The path is not the gateway's.
    Elsewhere,
}

/// The routes of the gateway.
#[derive(Debug)]
pub(super) struct Routes {
    etcd: HashMap<&'static str, Route>,
    own: HashMap<String, Route>,
}

impl Routes {
    pub(super) fn new(schema: &Schema) -> Self {
        let methods = || schema.methods().iter();
        let etcd = ETCD.iter().filter_map(|(path, name)| {
            let method = methods().find(|it| full_name(it) == *name)?;
            Some((*path, Route::to(method)))
        });
        let own = methods().filter_map(|method| {
            let service = method.service.strip_prefix(OWN_PACKAGE)?;
            let path = format!("{}/{}", hyphened(service), hyphened(&method.name));
            Some((path, Route::to(method)))
        });
        Self {
            etcd: etcd.collect(),
            own: own.collect(),
        }
    }

    pub(super) fn find(&self, path: &str) -> Found<'_> {
        let of_etcd = ETCD_PREFIXES
            .iter()
            .find_map(|prefix| path.strip_prefix(prefix));
        let found = if let Some(rest) = of_etcd {
            self.etcd.get(rest)
        } else if let Some(rest) = path.strip_prefix(OWN_PREFIX) {
            self.own.get(rest)
        } else {
            return Found::Elsewhere;
        };
        found.map_or(Found::Nothing, Found::Method)
    }
}

impl Route {
    fn to(method: &Method) -> Self {
        Self {
            grpc: Uri::try_from(format!("/{}", full_name(method)))
                .expect("invariant: names of the wire make a path"),
            input: method.input,
            output: method.output,
            client_streaming: method.client_streaming,
            server_streaming: method.server_streaming,
        }
    }

    /// Whether a call has a stream in either direction.
    pub(super) const fn is_stream(&self) -> bool {
        self.client_streaming || self.server_streaming
    }
}

fn full_name(method: &Method) -> String {
    format!("{}/{}", method.service, method.name)
}

/// A name in lower case, with a hyphen before each of its words.
fn hyphened(name: &str) -> String {
    let mut made = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !made.is_empty() {
            made.push('-');
        }
        made.push(letter.to_ascii_lowercase());
    }
    made
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tenure_proto::PUBLIC_DESCRIPTOR_SET;

    use super::*;

    fn routes() -> (Schema, Routes) {
        let schema = Schema::new(PUBLIC_DESCRIPTOR_SET).expect("supported");
        let routes = Routes::new(&schema);
        (schema, routes)
    }

    #[test]
    fn every_method_has_a_path_or_a_reason_to_have_none() {
        let (schema, routes) = routes();
        assert_eq!(routes.etcd.len(), ETCD.len(), "every row names a method");
        let all = routes.etcd.values().chain(routes.own.values());
        let with_path: HashSet<&str> = all.map(|route| &route.grpc.path()[1..]).collect();
        for method in schema.methods() {
            let name = full_name(method);
            let reason = WITHOUT_PATH.iter().find(|(known, _)| *known == name);
            let has_path = with_path.contains(&*name);
            assert_ne!(has_path, reason.is_some(), "{name}");
        }
    }

    #[test]
    fn paths_lead_to_methods_by_either_prefix() {
        let (_, routes) = routes();
        let path = |path: &str| match routes.find(path) {
            Found::Method(route) => Some(route.grpc.path().to_owned()),
            Found::Nothing | Found::Elsewhere => None,
        };
        for (asked, expected) in [
            ("/v3/kv/range", "/etcdserverpb.KV/Range"),
            ("/v3beta/kv/range", "/etcdserverpb.KV/Range"),
            ("/v3/watch", "/etcdserverpb.Watch/Watch"),
            ("/v1/lock/acquire", "/tenure.v1.Lock/Acquire"),
            (
                "/v1/registry/watch-endpoints",
                "/tenure.v1.Registry/WatchEndpoints",
            ),
            ("/v1/election/hand-over", "/tenure.v1.Election/HandOver"),
        ] {
            assert_eq!(path(asked).as_deref(), Some(expected), "{asked}");
        }
        for nothing in [
            "/v3/",
            "/v3/kv",
            "/v3/kv/range/",
            "/v1/Lock/Acquire",
            "/v1/kv/range",
        ] {
            assert_eq!(routes.find(nothing), Found::Nothing, "{nothing}");
        }
        for other in [
            "/v3alpha/kv/range",
            "/v3",
            "/health",
            "/etcdserverpb.KV/Range",
        ] {
            assert_eq!(routes.find(other), Found::Elsewhere, "{other}");
        }
    }
}

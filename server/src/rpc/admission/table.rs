//! What each method needs, before its request is looked at.
//!
//! A method that is not listed is refused while authentication is enabled. Invariant: every method
//! of every service is listed.

/// What a method needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MethodNeed {
    /// Nothing; a token is not looked at.
    Open,
    /// Nothing; but a token that is shown must be good.
    GoodToken,
    /// Nothing: each message on the stream is refused or not.
    Stream,
    /// A user. The handler checks what depends on the request.
    User,
    /// Root.
    Admin,
    /// Root; and a line of the audit log says how it ended. Handlers write those of others, which
    /// know what they are about.
    Act,
}

use MethodNeed::{Act, Admin, GoodToken, Open, Stream, User};

/// The methods of each service.
const SERVICES: &[(&str, &[(&str, MethodNeed)])] = &[
    (
        "etcdserverpb.KV",
        &[
            ("Range", User),
            ("RangeStream", User),
            ("Put", User),
            ("DeleteRange", User),
            ("Txn", User),
            ("Compact", Act),
        ],
    ),
    // A watcher that is refused does not end the others.
    ("etcdserverpb.Watch", &[("Watch", Stream)]),
    (
        "etcdserverpb.Lease",
        &[
            ("LeaseGrant", User),
            ("LeaseRevoke", User),
            ("LeaseKeepAlive", User),
            ("LeaseTimeToLive", User),
            ("LeaseLeases", User),
        ],
    ),
    (
        "etcdserverpb.Cluster",
        &[
            ("MemberAdd", Act),
            ("MemberRemove", Act),
            ("MemberUpdate", Act),
            ("MemberList", User),
            ("MemberPromote", Act),
        ],
    ),
    (
        "etcdserverpb.Maintenance",
        &[
            // Listing alarms takes a user only.
            ("Alarm", User),
            ("Status", User),
            ("Defragment", Act),
            ("Hash", Admin),
            ("HashKV", Admin),
            ("Snapshot", Act),
            ("MoveLeader", Act),
            ("Downgrade", Act),
        ],
    ),
    (
        "etcdserverpb.Auth",
        &[
            ("AuthEnable", Admin),
            ("AuthDisable", Admin),
            ("AuthStatus", GoodToken),
            ("Authenticate", Open),
            ("UserAdd", Admin),
            // Of itself, and its own roles, a user may ask.
            ("UserGet", User),
            ("UserList", Admin),
            ("UserDelete", Admin),
            ("UserChangePassword", Admin),
            ("UserGrantRole", Admin),
            ("UserRevokeRole", Admin),
            ("RoleAdd", Admin),
            ("RoleGet", User),
            ("RoleList", Admin),
            ("RoleDelete", Admin),
            ("RoleGrantPermission", Admin),
            ("RoleRevokePermission", Admin),
        ],
    ),
    ("v3lockpb.Lock", &[("Lock", User), ("Unlock", User)]),
    (
        "v3electionpb.Election",
        &[
            ("Campaign", User),
            ("Proclaim", User),
            ("Leader", User),
            ("Observe", User),
            ("Resign", User),
        ],
    ),
    (
        "tenure.v1.Lock",
        &[
            ("Acquire", User),
            ("TryAcquire", User),
            ("Release", User),
            ("Withdraw", User),
            ("Transfer", User),
            ("CheckToken", User),
            ("WatchTokens", User),
            ("Inspect", User),
            ("List", User),
            ("ForceRelease", Act),
        ],
    ),
    (
        "tenure.v1.Election",
        &[
            ("Campaign", User),
            ("Proclaim", User),
            ("Observe", User),
            ("Resign", User),
            ("HandOver", User),
        ],
    ),
    (
        "tenure.v1.Session",
        &[
            ("Open", User),
            ("Close", User),
            ("Inspect", User),
            ("SetWill", User),
        ],
    ),
    (
        "tenure.v1.Registry",
        &[
            ("Register", User),
            ("SetReadiness", User),
            ("Drain", User),
            ("Deregister", User),
            ("Discover", User),
            ("WatchEndpoints", User),
        ],
    ),
    (
        "tenure.v1.Fence",
        &[
            ("SetPolicy", Act),
            ("RemovePolicy", Act),
            ("ListPolicies", Admin),
        ],
    ),
    // For the tool that rebuilds a lost quorum: nobody can log in then.
    ("tenure.v1.Member", &[("LogEnd", GoodToken)]),
    (
        "grpc.health.v1.Health",
        &[("Check", Open), ("List", Open), ("Watch", Open)],
    ),
    (
        "grpc.reflection.v1.ServerReflection",
        &[("ServerReflectionInfo", Open)],
    ),
    (
        "grpc.reflection.v1alpha.ServerReflection",
        &[("ServerReflectionInfo", Open)],
    ),
];

/// A method of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    service: &'static str,
    name: &'static str,
    pub(super) need: MethodNeed,
}

impl Method {
    /// The method at `path`; `None` for a path that no service has.
    pub(super) fn at(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let (service, methods) = SERVICES.iter().find(|(name, _)| *name == service)?;
        let (name, need) = methods.iter().find(|(name, _)| *name == method)?;
        Some(Self {
            service,
            name,
            need: *need,
        })
    }

    /// Its name in the audit log: without the package of its service.
    pub(super) fn action(self) -> String {
        let service = self.service.rsplit_once('.').map(|(_, service)| service);
        format!("{}/{}", service.unwrap_or(self.service), self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;
    use tenure_proto::PUBLIC_DESCRIPTOR_SET;

    use super::*;

    /// Every method that the descriptors have, as `service/method`.
    fn described() -> BTreeSet<String> {
        let set = FileDescriptorSet::decode(PUBLIC_DESCRIPTOR_SET).expect("descriptors");
        let mut found = BTreeSet::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let (service, method) = (service.name(), method.name());
                    found.insert(format!("{}.{service}/{method}", file.package()));
                }
            }
        }
        found
    }

    #[test]
    fn every_method_of_every_service_has_a_need_and_no_other_has() {
        let listed: BTreeSet<String> = SERVICES
            .iter()
            .flat_map(|(service, methods)| {
                methods
                    .iter()
                    .map(move |(name, _)| format!("{service}/{name}"))
            })
            .filter(|path| !path.starts_with("grpc."))
            .collect();
        assert_eq!(listed, described());
        assert!(listed.len() > 70, "{}", listed.len());
        for path in &listed {
            assert!(Method::at(&format!("/{path}")).is_some(), "{path}");
        }
    }

    #[test]
    fn other_paths_have_no_need() {
        for path in [
            "",
            "/",
            "/etcdserverpb.KV",
            "/etcdserverpb.KV/range",
            "etcdserverpb.KV/Put",
        ] {
            assert_eq!(Method::at(path), None, "{path}");
        }
    }
}

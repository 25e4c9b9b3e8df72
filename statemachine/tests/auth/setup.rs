//! A machine with users, and the commands that tests give it.

use std::sync::Arc;

use bytes::Bytes;
use tenure_statemachine::{
    Access, AuthChange, AuthRevision, By, Command, Conditional, FeatureLevel, KeyRange, LeaseGrant,
    LeaseId, MemEngine, Permission, PermissionCache, Permissions, Principal, Put, Reader, Refusal,
    Reply, RequestId, Ttl, invariants,
};

use crate::node::Node;

pub(crate) type Machine = Node<MemEngine>;

pub(crate) fn key(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// `k` is a key, `k..` all from it on, `k..z` what lies between.
pub(crate) fn range(text: &str) -> KeyRange {
    match text.split_once("..") {
        None => KeyRange::single(key(text)),
        Some((start, "")) => KeyRange::from_wire(key(start), key("\0")),
        Some((start, end)) => KeyRange::from_wire(key(start), key(end)),
    }
}

pub(crate) fn secret() -> Bytes {
    Bytes::from_static(&[7; AuthChange::SECRET_LEN])
}

pub(crate) fn enable() -> AuthChange {
    AuthChange::Enable { secret: secret() }
}

pub(crate) fn user_add(user: &str) -> AuthChange {
    AuthChange::UserAdd {
        user: user.to_owned(),
        password: Some(key("hash")),
    }
}

pub(crate) fn grant_role(user: &str, role: &str) -> AuthChange {
    AuthChange::UserGrantRole {
        user: user.to_owned(),
        role: role.to_owned(),
    }
}

pub(crate) fn revoke_role(user: &str, role: &str) -> AuthChange {
    AuthChange::UserRevokeRole {
        user: user.to_owned(),
        role: role.to_owned(),
    }
}

pub(crate) fn permit(role: &str, access: Access, of: &str) -> AuthChange {
    AuthChange::RoleGrantPermission {
        role: role.to_owned(),
        permission: Permission {
            access,
            range: range(of),
        },
    }
}

pub(crate) fn forbid(role: &str, of: &str) -> AuthChange {
    AuthChange::RoleRevokePermission {
        role: role.to_owned(),
        range: range(of),
    }
}

pub(crate) fn by_user(user: &str, revision: AuthRevision, command: Command) -> Command {
    Command::By(Box::new(By {
        principal: Principal::User {
            name: user.to_owned(),
            auth_revision: revision,
        },
        command,
    }))
}

pub(crate) fn by_system(command: Command) -> Command {
    Command::By(Box::new(By {
        principal: Principal::System,
        command,
    }))
}

pub(crate) fn put(key: &'static str) -> Put {
    Put {
        key: key.into(),
        value: "value".into(),
        ..Put::default()
    }
}

pub(crate) fn attached(key: &'static str, lease: i64) -> Put {
    Put {
        lease: LeaseId(lease),
        ..put(key)
    }
}

pub(crate) fn lease(id: i64) -> Command {
    Command::LeaseGrant(LeaseGrant {
        id: LeaseId(id),
        ttl: Ttl(1_000_000),
    })
}

pub(crate) fn with_id(request: RequestId, command: Command) -> Command {
    Command::Conditional(Box::new(Conditional {
        guards: Vec::new(),
        request: Some(request),
        command,
    }))
}

/// The permissions of a user in the state of `reader`, from the cache if it has them.
pub(crate) fn looked_up(
    cache: &mut PermissionCache,
    reader: &Reader<'_>,
    user: &str,
) -> Option<Arc<Permissions>> {
    let revision = reader.auth().unwrap().revision;
    let known = cache.known(revision, user);
    known.or_else(|| {
        let found = Arc::new(reader.permissions(user).unwrap()?);
        cache.keep(revision, user, &found);
        Some(found)
    })
}

impl Machine {
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::new(&*self.engine).unwrap()
    }

    pub(crate) fn auth_revision(&self) -> AuthRevision {
        self.reader().auth().unwrap().revision
    }

    /// Changes users or roles, as root if there is need; the invariants hold afterwards.
    pub(crate) fn change(&mut self, change: AuthChange) -> Result<(), Refusal> {
        let reply = self.of("root", Command::Auth(change));
        invariants::check(&*self.engine).unwrap();
        reply.map(|reply| assert_eq!(reply, Reply::Done))
    }

    /// Applies a user's command that was checked at the present auth revision.
    pub(crate) fn of(&mut self, user: &str, command: Command) -> Result<Reply, Refusal> {
        let command = by_user(user, self.auth_revision(), command);
        self.one(command)
    }
}

/// The newest level, and no users.
pub(crate) fn without_users() -> Machine {
    Machine::at(FeatureLevel::NEWEST)
}

/// Authentication is enabled. `root` is root; `ann` may read and write `a..b`, `bob` may read and
/// write `b..c`, and `guest` nothing.
pub(crate) fn with_users() -> Machine {
    let mut node = without_users();
    let mut changes = vec![user_add("root"), grant_role("root", "root")];
    for (user, keys) in [("ann", "a..b"), ("bob", "b..c")] {
        changes.push(user_add(user));
        changes.push(AuthChange::RoleAdd(user.to_owned()));
        changes.push(permit(user, Access::ReadWrite, keys));
        changes.push(grant_role(user, user));
    }
    changes.push(user_add("guest"));
    changes.push(enable());
    for change in changes {
        node.change(change).unwrap();
    }
    node
}

//! For all sequences of changes and commands: what a user may do is what a naive model says, which
//! looks at every key one by one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::select};
use tenure_statemachine::{
    Access, AuthChange, AuthRevision, Command, DeleteRange, KeyRange, LeaseGrant, LeaseId, Need,
    Permission, PermissionCache, Put, ReadError, Refusal, StateMachine, Ttl, Txn, TxnOp,
    invariants, needs_of,
};

use super::setup::{Machine, by_system, by_user, looked_up, range, secret, without_users};

const USERS: [&str; 3] = ["ann", "bob", "root"];
const ROLES: [&str; 3] = ["one", "root", "two"];
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
const RANGES: [&str; 10] = [
    "a", "c", "e", "a..c", "b..d", "c..d", "c..e", "d..", "a..", "d..b",
];

/// The naive model: users and roles, keys with their leases.
#[derive(Debug, Default)]
struct Model {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, BTreeSet<String>>,
    roles: BTreeMap<String, BTreeMap<(Bytes, Bytes), Access>>,
    leases: BTreeSet<i64>,
    keys: BTreeMap<Bytes, i64>,
}

impl Model {
    #[expect(clippy::too_many_lines, reason = "an arm for each change")]
    fn change(&mut self, change: &AuthChange) -> Result<(), Refusal> {
        let is_roots = |user: &str, role: &str| user == "root" && role == "root";
        match change {
            AuthChange::Enable { .. } if self.enabled => return Ok(()),
            AuthChange::Enable { .. } => {
                let root = self.users.get("root").ok_or(Refusal::RootUserMissing)?;
                if !root.contains("root") {
                    return Err(Refusal::RootRoleMissing);
                }
                self.enabled = true;
                return Ok(());
            }
            AuthChange::Disable if !self.enabled => return Ok(()),
            AuthChange::Disable => self.enabled = false,
            AuthChange::UserAdd { user, .. } => {
                if self.users.contains_key(user) {
                    return Err(Refusal::UserExists);
                }
                self.users.insert(user.clone(), BTreeSet::new());
            }
            AuthChange::UserDelete(user) => {
                if self.enabled && user == "root" {
                    return Err(Refusal::InvalidAuthManagement);
                }
                self.users.remove(user).ok_or(Refusal::UserNotFound)?;
            }
            AuthChange::UserSetPassword { user, .. } => {
                self.users.get(user).ok_or(Refusal::UserNotFound)?;
            }
            AuthChange::UserGrantRole { user, role } => {
                let known = role == "root" || self.roles.contains_key(role);
                let user = self.users.get_mut(user).ok_or(Refusal::UserNotFound)?;
                if !known {
                    return Err(Refusal::RoleNotFound);
                }
                if !user.insert(role.clone()) {
                    return Ok(());
                }
            }
            AuthChange::UserRevokeRole { user, role } => {
                if self.enabled && is_roots(user, role) {
                    return Err(Refusal::InvalidAuthManagement);
                }
                let user = self.users.get_mut(user).ok_or(Refusal::UserNotFound)?;
                if !user.remove(role) {
                    return Err(Refusal::RoleNotGranted);
                }
            }
            AuthChange::RoleAdd(role) => {
                if self.roles.contains_key(role) {
                    return Err(Refusal::RoleExists);
                }
                self.roles.insert(role.clone(), BTreeMap::new());
            }
            AuthChange::RoleDelete(role) => {
                if self.enabled && role == "root" {
                    return Err(Refusal::InvalidAuthManagement);
                }
                self.roles.remove(role).ok_or(Refusal::RoleNotFound)?;
                for user in self.users.values_mut() {
                    user.remove(role);
                }
            }
            AuthChange::RoleGrantPermission { role, permission } => {
                let (start, end) = wire(&permission.range);
                if !end.is_empty() && end != "\0" && end <= start {
                    return Err(Refusal::InvalidAuthManagement);
                }
                let role = self.roles.get_mut(role).ok_or(Refusal::RoleNotFound)?;
                role.insert((start, end), permission.access);
            }
            AuthChange::RoleRevokePermission { role, range } => {
                let role = self.roles.get_mut(role).ok_or(Refusal::RoleNotFound)?;
                role.remove(&wire(range))
                    .ok_or(Refusal::PermissionNotGranted)?;
            }
        }
        self.revision += 1;
        Ok(())
    }

    fn may(&self, user: &str, writes: bool, key: &[u8]) -> bool {
        let roles = &self.users[user];
        let permissions = roles
            .iter()
            .filter_map(|role| self.roles.get(role))
            .flatten();
        roles.contains("root")
            || permissions.into_iter().any(|((start, end), access)| {
                let fits = if writes {
                    access.writes()
                } else {
                    access.reads()
                };
                let range = KeyRange::from_wire(start.clone(), end.clone());
                fits && range.contains(key)
            })
    }

    /// Every key of the range, and one between each two of them, may be read or written.
    fn may_all(&self, user: &str, writes: bool, range: &KeyRange) -> bool {
        let mut keys: Vec<String> = KEYS.map(str::to_owned).to_vec();
        keys.extend(KEYS.map(|key| format!("{key}\0")));
        keys.extend(KEYS.map(|key| format!("{key}~")));
        let mut within = keys.iter().filter(|key| range.contains(key.as_bytes()));
        within.all(|key| self.may(user, writes, key.as_bytes()))
    }

    /// Whether the user may write every key that is attached to the lease.
    fn may_use(&self, user: &str, lease: i64) -> bool {
        let mut attached = self.keys.iter().filter(|(_, of)| **of == lease);
        attached.all(|(key, _)| self.may(user, true, key))
    }

    fn meets(&self, user: &str, need: &Need) -> bool {
        match need {
            Need::User => true,
            Need::Read(range) => self.may_all(user, false, range),
            Need::Write(range) => self.may_all(user, true, range),
            Need::WriteLease(lease) => self.may_use(user, lease.0),
            Need::Admin => self.users[user].contains("root"),
            Need::Guard(_) | Need::ReadLease(_) => panic!("no command here needs {need:?}"),
        }
    }

    /// Applies a command of a user that was checked at this revision.
    fn apply(&mut self, user: &str, command: &Command) -> Result<(), Refusal> {
        if self.enabled {
            let leases = needs_of(command);
            let mut leases = leases
                .iter()
                .filter(|need| matches!(need, Need::WriteLease(_)));
            let names_lease = leases.clone().next().is_some();
            if names_lease && !self.users.contains_key(user) {
                return Err(Refusal::UserNotFound);
            }
            if !leases.all(|need| self.meets(user, need)) {
                return Err(Refusal::PermissionDenied);
            }
        }
        match command {
            Command::LeaseGrant(grant) if self.leases.insert(grant.id.0) => Ok(()),
            Command::LeaseGrant(_) => Err(Refusal::LeaseExists),
            Command::LeaseRevoke(id) if self.leases.remove(&id.0) => {
                self.keys.retain(|_, lease| *lease != id.0);
                Ok(())
            }
            Command::LeaseRevoke(_) => Err(Refusal::LeaseNotFound),
            Command::Put(put) => self.put(put),
            Command::Txn(txn) => {
                let TxnOp::Put(put) = &txn.success[0] else {
                    panic!("a transaction puts")
                };
                self.put(put)
            }
            Command::DeleteRange(delete) => {
                self.keys.retain(|key, _| !delete.range.contains(key));
                Ok(())
            }
            Command::Auth(change) => self.change(change),
            _ => panic!("{command:?} is not modelled"),
        }
    }

    fn put(&mut self, put: &Put) -> Result<(), Refusal> {
        if put.lease.is_some() && !self.leases.contains(&put.lease.0) {
            return Err(Refusal::LeaseNotFound);
        }
        self.keys.insert(put.key.clone(), put.lease.0);
        Ok(())
    }
}

fn wire(range: &KeyRange) -> (Bytes, Bytes) {
    (range.start.clone(), range.wire_end())
}

fn names(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(of).prop_map(str::to_owned)
}

fn change() -> impl Strategy<Value = AuthChange> {
    let user = || names(&USERS);
    let role = || names(&ROLES);
    let ranges = || select(&RANGES[..]).prop_map(range);
    let access = select(vec![Access::Read, Access::Write, Access::ReadWrite]);
    let permission = (access, ranges()).prop_map(|(access, range)| Permission { access, range });
    prop_oneof![
        3 => Just(AuthChange::Enable { secret: secret() }),
        1 => Just(AuthChange::Disable),
        3 => user().prop_map(|user| AuthChange::UserAdd { user, password: None }),
        1 => user().prop_map(AuthChange::UserDelete),
        1 => user().prop_map(|user| {
            AuthChange::UserSetPassword { user, password: Bytes::new() }
        }),
        4 => (user(), role()).prop_map(|(user, role)| AuthChange::UserGrantRole { user, role }),
        1 => (user(), role()).prop_map(|(user, role)| AuthChange::UserRevokeRole { user, role }),
        3 => role().prop_map(AuthChange::RoleAdd),
        1 => role().prop_map(AuthChange::RoleDelete),
        6 => (role(), permission).prop_map(|(role, permission)| {
            AuthChange::RoleGrantPermission { role, permission }
        }),
        2 => (role(), ranges()).prop_map(|(role, range)| {
            AuthChange::RoleRevokePermission { role, range }
        }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let key = || select(&KEYS[..]).prop_map(Bytes::from);
    let id = || (1_i64..4).prop_map(LeaseId);
    let lease = (0_i64..4).prop_map(LeaseId);
    let put = (key(), lease, any::<bool>()).prop_map(|(key, lease, want_previous)| Put {
        key,
        lease,
        want_previous,
        ..Put::default()
    });
    let delete = (select(&RANGES[..]), any::<bool>()).prop_map(|(of, want_previous)| DeleteRange {
        range: range(of),
        want_previous,
    });
    let ttl = Ttl(1_000_000);
    prop_oneof![
        6 => put.clone().prop_map(Command::Put),
        2 => put.prop_map(|put| Command::Txn(Txn {
            success: vec![TxnOp::Put(put)],
            ..Txn::default()
        })),
        3 => delete.prop_map(Command::DeleteRange),
        2 => id().prop_map(move |id| Command::LeaseGrant(LeaseGrant { id, ttl })),
        2 => id().prop_map(Command::LeaseRevoke),
        4 => change().prop_map(Command::Auth),
    ]
}

/// Who makes a command, and how many auth revisions ago it was checked.
#[derive(Clone, Copy, Debug)]
enum Caller {
    Nobody,
    System,
    User(&'static str, u64),
}

fn caller() -> impl Strategy<Value = Caller> {
    let ago = prop_oneof![6 => Just(0_u64), 1 => 1_u64..3];
    prop_oneof![
        1 => Just(Caller::Nobody),
        2 => Just(Caller::System),
        8 => (select(&USERS[..]), ago).prop_map(|(user, ago)| Caller::User(user, ago)),
    ]
}

fn expected(model: &mut Model, from: Caller, command: &Command) -> Result<(), Refusal> {
    match from {
        Caller::Nobody if model.enabled => Err(Refusal::UserEmpty),
        Caller::User(_, ago) if model.enabled && ago > 0 => Err(Refusal::AuthOldRevision),
        Caller::User(user, _) => model.apply(user, command),
        Caller::Nobody | Caller::System => {
            let enabled = std::mem::take(&mut model.enabled);
            // The rules of changes depend on it, permissions do not count.
            if let Command::Auth(change) = command {
                model.enabled = enabled;
                return model.change(change);
            }
            let done = model.apply("", command);
            model.enabled = enabled;
            done
        }
    }
}

fn worded(node: &Machine, from: Caller, command: Command) -> Command {
    match from {
        Caller::Nobody => command,
        Caller::System => by_system(command),
        Caller::User(user, ago) => {
            let revision = node.auth_revision().0.saturating_sub(ago);
            by_user(user, AuthRevision(revision), command)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        // A failure worth keeping becomes a named test.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn users_may_do_what_the_model_says(steps in vec((caller(), command()), 1..60)) {
        let mut node = without_users();
        let mut model = Model { revision: 1, ..Model::default() };
        let mut cache = PermissionCache::default();
        for (number, (from, command)) in steps.into_iter().enumerate() {
            let ago = if let Caller::User(_, ago) = from { ago } else { 0 };
            // There are not so many revisions yet.
            if ago >= model.revision {
                continue;
            }
            for user in USERS {
                let reader = node.reader();
                let permissions = looked_up(&mut cache, &reader, user);
                prop_assert_eq!(permissions.is_some(), model.users.contains_key(user));
                let Some(permissions) = permissions else { continue };
                for need in needs_of(&command) {
                    // Ranges without keys are a rule of their own.
                    if matches!(&need, Need::Read(range) | Need::Write(range) if range.is_empty()) {
                        continue;
                    }
                    let met = match reader.check_need(&permissions, &need) {
                        Ok(()) => true,
                        Err(ReadError::Refused(Refusal::PermissionDenied)) => false,
                        Err(other) => panic!("{other}"),
                    };
                    prop_assert_eq!(met, model.meets(user, &need), "{} {:?}", user, need);
                }
            }
            let worded = worded(&node, from, command.clone());
            let reply = node.one(worded).map(drop);
            let expected = expected(&mut model, from, &command);
            prop_assert_eq!(reply, expected, "{:?} {:?}", from, command);
            let state = node.reader().auth().unwrap();
            prop_assert_eq!((state.enabled, state.revision.0), (model.enabled, model.revision));
            prop_assert_eq!(invariants::check(&*node.engine), Ok(()));
            if number % 7 == 0 {
                node.machine = StateMachine::open(node.engine.clone()).unwrap();
            }
        }
    }
}

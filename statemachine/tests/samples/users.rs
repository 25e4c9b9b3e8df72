//! Changes of users and roles, commands with principals, and a state with rows of every kind that
//! users, roles and their property have.

use std::sync::Arc;

use bytes::Bytes;
use tenure_statemachine::{
    Access, AuthChange, AuthRevision, By, ClusterTime, Command, Conditional, Context, FeatureLevel,
    KeyRange, LeaseGrant, LeaseId, MemEngine, Permission, Principal, Put, Refusal, RequestId,
    SessionOpen, StateMachine, Ttl, Txn, TxnOp, Will, WillSet,
};

fn by(principal: Principal, command: Command) -> Command {
    Command::By(Box::new(By { principal, command }))
}

fn user(command: Command) -> Command {
    let (name, auth_revision) = ("ann".to_owned(), AuthRevision(300));
    let principal = Principal::User {
        name,
        auth_revision,
    };
    by(principal, command)
}

fn range() -> KeyRange {
    KeyRange::from_wire("a".into(), "b".into())
}

fn enable() -> AuthChange {
    AuthChange::Enable {
        secret: (0..32).collect::<Vec<u8>>().into(),
    }
}

fn permission(access: Access) -> Permission {
    let range = range();
    Permission { access, range }
}

fn changes() -> Vec<(&'static str, AuthChange)> {
    let (ann, app) = (|| "ann".to_owned(), || "app".to_owned());
    let with_password = AuthChange::UserAdd {
        user: ann(),
        password: Some("$2a$10$hash".into()),
    };
    let without_password = AuthChange::UserAdd {
        user: ann(),
        password: None,
    };
    let set_password = AuthChange::UserSetPassword {
        user: ann(),
        password: Bytes::new(),
    };
    let grant_role = AuthChange::UserGrantRole {
        user: ann(),
        role: app(),
    };
    let revoke_role = AuthChange::UserRevokeRole {
        user: ann(),
        role: app(),
    };
    let grant = |access| AuthChange::RoleGrantPermission {
        role: app(),
        permission: permission(access),
    };
    let revoke = AuthChange::RoleRevokePermission {
        role: app(),
        range: range(),
    };
    vec![
        ("auth_enable", enable()),
        ("auth_disable", AuthChange::Disable),
        ("user_add", with_password),
        ("user_add_without_password", without_password),
        ("user_delete", AuthChange::UserDelete(ann())),
        ("user_set_password", set_password),
        ("user_grant_role", grant_role),
        ("user_revoke_role", revoke_role),
        ("role_add", AuthChange::RoleAdd(app())),
        ("role_delete", AuthChange::RoleDelete(app())),
        ("role_grant_read", grant(Access::Read)),
        ("role_grant_write", grant(Access::Write)),
        ("role_grant_both", grant(Access::ReadWrite)),
        ("role_revoke", revoke),
    ]
}

pub(crate) fn commands() -> Vec<(&'static str, Command)> {
    let changes = changes().into_iter();
    let changes = changes.map(|(name, change)| (name, Command::Auth(change)));
    let put = || Command::Put(super::commands::put());
    let conditional = Command::Conditional(Box::new(Conditional {
        guards: Vec::new(),
        request: Some(RequestId::Key(Bytes::from_static(b"id"))),
        command: put(),
    }));
    let with_principals = vec![
        ("by_system", by(Principal::System, Command::Wake)),
        ("by_user", user(put())),
        ("by_user_once", user(conditional)),
    ];
    changes.chain(with_principals).collect()
}

fn keys() -> [RequestId; 2] {
    [
        RequestId::Key(Bytes::from_static(b"id")),
        RequestId::ClientKey {
            client: 5,
            key: Bytes::from_static(b"of a client"),
        },
    ]
}

fn script() -> Vec<Command> {
    let root = || "root".to_owned();
    let add_root = AuthChange::UserAdd {
        user: root(),
        password: None,
    };
    let grant_root = AuthChange::UserGrantRole {
        user: root(),
        role: root(),
    };
    let names = ["role_add", "role_grant_both", "user_add", "user_grant_role"];
    let known = changes();
    let change = |name: &&str| {
        let found = known.iter().find(|(known, _)| known == name);
        Command::Auth(found.unwrap().1.clone())
    };
    let mut script = vec![Command::RaiseLevel(FeatureLevel(6))];
    script.extend(names.iter().map(change));
    script.extend([add_root, grant_root, enable()].map(Command::Auth));
    let of_ann = |command| {
        let principal = Principal::User {
            name: "ann".to_owned(),
            auth_revision: AuthRevision(7),
        };
        by(principal, command)
    };
    let will = Will {
        guards: Vec::new(),
        txn: Txn {
            success: vec![TxnOp::Put(Put {
                key: "a".into(),
                ..Put::default()
            })],
            ..Txn::default()
        },
    };
    script.push(of_ann(Command::SessionOpen(SessionOpen {
        lease: LeaseId(7),
        grant: Some(Ttl(3_600_000)),
    })));
    for id in keys() {
        script.push(of_ann(Command::Conditional(Box::new(Conditional {
            guards: Vec::new(),
            request: Some(id),
            command: Command::LeaseGrant(LeaseGrant {
                id: LeaseId(8),
                ttl: Ttl(3_600_000),
            }),
        }))));
    }
    script.push(of_ann(Command::WillSet(WillSet {
        lease: LeaseId(7),
        lock: None,
        will: Some(will),
    })));
    script
}

/// The engine that holds the state.
pub(crate) fn engine() -> Arc<MemEngine> {
    let engine = Arc::new(MemEngine::new());
    let mut machine = StateMachine::open(engine.clone()).unwrap();
    let mut batch = machine.begin();
    for (command, index) in script().iter().zip(1..) {
        let context = Context {
            index,
            term: 3,
            now: ClusterTime(1_000 * index),
        };
        let outcome = batch.apply(&context, command).unwrap();
        let is_second = outcome.reply == Err(Refusal::LeaseExists);
        assert!(
            outcome.reply.is_ok() || is_second,
            "{command:?}: {outcome:?}"
        );
    }
    batch.commit().unwrap();
    engine
}

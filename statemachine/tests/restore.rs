//! For all command sequences: a state that is restored of what a backup holds is the state that was
//! backed up. Of what etcd's backups hold it has all that etcd's clients see.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tenure_statemachine::{
    Access, AuthChange, AuthRevision, By, ClaimState, ClusterTime, Collector, Command, Context,
    Engine, Fault, FeatureLevel, KeyRange, LeaseGrant, LeaseId, MemEngine, Meta, Permission,
    Principal, Put, RangeQuery, Reader, Revision, StateMachine, Table, Ttl, View, invariants,
    restore::{Position, Restore},
};

use crate::strategies;

const NOWHERE: Position = Position {
    index: 0,
    term: 0,
    floor: Revision(-1),
};

fn adapter(_: &Meta) -> Bytes {
    Bytes::from_static(b"adapter")
}

/// A state after these commands, each in an entry of its own.
fn state(commands: &[(u64, Command)], collects: bool) -> Arc<MemEngine> {
    let engine = Arc::new(MemEngine::new());
    let mut machine = StateMachine::open(engine.clone()).unwrap();
    for (index, (now, command)) in commands.iter().enumerate() {
        let context = Context {
            index: index as u64 + 1,
            term: 3,
            now: ClusterTime(*now),
        };
        let mut batch = machine.begin();
        batch.apply(&context, command).unwrap();
        batch.commit().unwrap();
    }
    if collects {
        let mut collector = Collector::new();
        while !collector.step(&*engine, 3).unwrap().done {}
    }
    engine
}

fn rows(view: &dyn View, table: Table) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::new();
    let mut cursor = view.scan(table, &[]).unwrap();
    while let Some(row) = cursor.next().unwrap() {
        rows.push(row);
    }
    rows
}

fn restored(from: &dyn View, keep: bool, position: Position) -> Result<Arc<MemEngine>, Fault> {
    let engine = Arc::new(MemEngine::new());
    let mut restore = Restore::new(engine.clone());
    if keep {
        for table in Restore::KEPT {
            for (key, value) in rows(from, table) {
                if Restore::is_kept(table, &key) {
                    restore.keep(table, key, value)?;
                }
            }
        }
    } else {
        let reader = Reader::new(from)?;
        for lease in reader.leases()? {
            restore.lease(lease.id, lease.ttl, lease.ttl)?;
        }
    }
    for (row, value) in rows(from, Table::History) {
        restore.change(row, value)?;
    }
    restore.finish(position, &adapter)?;
    Ok(engine)
}

/// The rows that a backup of this machine brings back.
fn all_kept(view: &dyn View) -> Vec<(Table, Bytes, Bytes)> {
    let mut all = Vec::new();
    for table in Table::ALL {
        let rows = rows(view, table).into_iter();
        all.extend(rows.map(|(key, value)| (table, key, value)));
    }
    let counters = |row: &(Table, Bytes, Bytes)| row.0 == Table::Meta && *row.1 == [0];
    all.retain(|row| {
        let is_derived = !Restore::KEPT.contains(&row.0);
        (is_derived || Restore::is_kept(row.0, &row.1)) && !counters(row)
    });
    all
}

fn keys(view: &dyn View, revision: Revision) -> Result<Vec<tenure_statemachine::KeyValue>, String> {
    let all = KeyRange::from_wire(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let query = RangeQuery {
        revision,
        ..RangeQuery::latest(all)
    };
    let reader = Reader::new(view).unwrap();
    let found = reader.range(&query).map_err(|error| error.to_string())?;
    Ok(found.kvs)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        // A failure worth keeping becomes a named test.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_backup_of_the_machine_brings_back_every_row(
        commands in strategies::commands(40),
        collects in any::<bool>(),
    ) {
        let before = state(&commands, collects);
        let after = restored(&*before, true, NOWHERE).unwrap();
        prop_assert_eq!(all_kept(&*after), all_kept(&*before));
        prop_assert_eq!(invariants::check(&*after), Ok(()));
        let meta = |view: &dyn View| *Reader::new(view).unwrap().meta();
        let expected = Meta { no_space: false, corrupt: false, ..meta(&*before) };
        prop_assert_eq!(meta(&*after), expected);
    }

    #[test]
    fn a_backup_of_etcds_brings_back_what_its_clients_see(
        commands in strategies::commands(40),
        collects in any::<bool>(),
    ) {
        let before = state(&commands, collects);
        let was = *Reader::new(&*before).unwrap().meta();
        // Such a machine refuses to read.
        prop_assume!(!was.corrupt);
        let floor = was.floor;
        let position = Position { floor, ..NOWHERE };
        let after = restored(&*before, false, position).unwrap();
        prop_assert_eq!(invariants::check(&*after), Ok(()));
        for revision in 0..=was.revision.0 + 1 {
            let at = Revision(revision);
            prop_assert_eq!(keys(&*after, at), keys(&*before, at), "at {}", revision);
            let hash = |view: &dyn View| {
                let reader = Reader::new(view).unwrap();
                reader.hash_kv(at).map(|it| it.hash).map_err(|error| error.to_string())
            };
            // At the floor a machine remembers the hash of before the compaction.
            if at > floor {
                prop_assert_eq!(hash(&*after), hash(&*before), "at {}", revision);
            }
        }
    }
}

/// By their keys etcd's clients hold locks: nobody else may get them.
#[test]
fn locks_of_etcds_clients_are_held_after_a_restore() {
    let grant = |id: i64| {
        Command::LeaseGrant(LeaseGrant {
            id: LeaseId(id),
            ttl: Ttl(60_000),
        })
    };
    let hold = |key: &'static str, lease: i64| {
        Command::Put(Put {
            key: Bytes::from_static(key.as_bytes()),
            lease: LeaseId(lease),
            ..Put::default()
        })
    };
    let commands = [
        Command::RaiseLevel(FeatureLevel::NEWEST),
        grant(7),
        grant(8),
        hold("job/8", 8),
        hold("job/7", 7),
        hold("other/7", 7),
    ];
    let commands = commands.map(|command| (1000, command));
    let before = state(&commands, false);
    let after = restored(&*before, false, NOWHERE).unwrap();
    assert_eq!(invariants::check(&*after), Ok(()));
    let holders = |view: &dyn View| {
        let reader = Reader::new(view).unwrap();
        let queue = reader.queue(b"job", 10).unwrap();
        let key = |claim: &ClaimState| claim.key.clone();
        let holders: Vec<_> = queue.holders.iter().map(key).collect();
        let waiters: Vec<_> = queue.waiters.iter().map(key).collect();
        (holders, waiters)
    };
    assert_eq!(holders(&*after), holders(&*before));
}

#[test]
fn rows_that_are_none_are_refused() {
    let engine = || Arc::new(MemEngine::new()) as Arc<dyn Engine>;
    let change = |main: u8, key: &'static [u8]| {
        let row = Bytes::from([&[0; 7][..], &[main], b"_", &[0; 8]].concat());
        (row, Bytes::from_static(key))
    };
    // mvccpb.KeyValue: key "a", created and modified at 2, version 1.
    let put = b"\x0a\x01a\x10\x02\x18\x02\x20\x01";
    let mut restore = Restore::new(engine());
    let (row, value) = change(2, put);
    restore.change(row.clone(), value.clone()).unwrap();
    restore.change(row, value).unwrap_err();
    let mut restore = Restore::new(engine());
    let (row, value) = change(3, put);
    restore.change(row, value).unwrap_err();
    let mut restore = Restore::new(engine());
    restore
        .change(Bytes::from_static(b"no revision"), Bytes::new())
        .unwrap_err();
    let mut restore = Restore::new(engine());
    restore.lease(LeaseId(7), Ttl(1000), Ttl(1000)).unwrap();
    restore.lease(LeaseId(7), Ttl(1000), Ttl(1000)).unwrap_err();
    let mut restore = Restore::new(engine());
    restore
        .keep(Table::Current, Bytes::new(), Bytes::new())
        .unwrap_err();
    restore
        .keep(Table::Leases, Bytes::from_static(b"short"), Bytes::new())
        .unwrap_err();
    restore
        .keep(Table::Meta, Bytes::from_static(&[1]), Bytes::new())
        .unwrap_err();
}

/// A state with users, of which a backup holds the rows.
fn with_users() -> Arc<MemEngine> {
    let changes = vec![
        user_add("root", Some("hash")),
        role_to("root", "root"),
        AuthChange::RoleAdd("app".to_owned()),
        AuthChange::RoleGrantPermission {
            role: "app".to_owned(),
            permission: permission(Access::Read, "a"),
        },
        user_add("ann", None),
        role_to("ann", "app"),
        AuthChange::Enable {
            secret: vec![7; AuthChange::SECRET_LEN].into(),
        },
    ];
    let mut commands = vec![Command::RaiseLevel(FeatureLevel::NEWEST)];
    commands.extend(changes.into_iter().map(Command::Auth));
    let commands: Vec<_> = commands.into_iter().map(|it| (1000, it)).collect();
    state(&commands, false)
}

fn user_add(user: &str, password: Option<&'static str>) -> AuthChange {
    AuthChange::UserAdd {
        user: user.to_owned(),
        password: password.map(Bytes::from),
    }
}

fn role_to(user: &str, role: &str) -> AuthChange {
    AuthChange::UserGrantRole {
        user: user.to_owned(),
        role: role.to_owned(),
    }
}

fn permission(access: Access, key: &'static str) -> Permission {
    Permission {
        access,
        range: KeyRange::single(key.into()),
    }
}

#[test]
fn users_are_there_after_a_restore_and_the_secret_of_tokens_is_not() {
    let before = with_users();
    let after = restored(&*before, true, NOWHERE).unwrap();
    assert_eq!(invariants::check(&*after), Ok(()));
    assert_eq!(all_kept(&*after), all_kept(&*before));
    let (was, is) = (
        Reader::new(&*before).unwrap(),
        Reader::new(&*after).unwrap(),
    );
    assert_eq!(is.auth().unwrap(), was.auth().unwrap());
    assert_eq!(is.users().unwrap(), was.users().unwrap());
    assert_eq!(is.roles().unwrap(), was.roles().unwrap());
    assert!(was.token_secret().unwrap().is_some());
    assert_eq!(is.token_secret().unwrap(), None);
    // Enabling once more stores one, and changes nothing else.
    let state = is.auth().unwrap();
    let mut machine = StateMachine::open(after.clone()).unwrap();
    let context = Context {
        index: machine.meta().applied_index + 1,
        ..Context::default()
    };
    let secret = Bytes::from(vec![8; AuthChange::SECRET_LEN]);
    let enable = Command::By(Box::new(By {
        principal: Principal::System,
        command: Command::Auth(AuthChange::Enable {
            secret: secret.clone(),
        }),
    }));
    let mut batch = machine.begin();
    assert!(batch.apply(&context, &enable).unwrap().reply.is_ok());
    batch.commit().unwrap();
    let is = Reader::new(&*after).unwrap();
    assert_eq!(is.token_secret().unwrap(), Some(secret));
    assert_eq!(is.auth().unwrap(), state);
}

#[test]
fn users_and_roles_of_etcds_backups_are_restored() {
    let engine = Arc::new(MemEngine::new());
    let mut restore = Restore::new(engine.clone());
    restore.auth(true, AuthRevision(300));
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    restore.user("root".to_owned(), Some("hash".into()), names(&["root"]));
    // Out of order, twice, and one that does not exist.
    let roles = names(&["two", "gone", "one", "two"]);
    restore.user("ann".to_owned(), None, roles);
    restore.role("one".to_owned(), Vec::new());
    let permissions = vec![
        permission(Access::Write, "b"),
        permission(Access::Read, "a"),
        permission(Access::Read, "b"),
        permission(Access::Read, ""),
    ];
    restore.role("two".to_owned(), permissions);
    assert_eq!(restore.kept_auth_revision(), None);
    restore.finish(NOWHERE, &adapter).unwrap();
    assert_eq!(invariants::check(&*engine), Ok(()));
    let reader = Reader::new(&*engine).unwrap();
    let state = reader.auth().unwrap();
    assert!(state.enabled);
    assert_eq!((state.revision.0, state.users, state.roles), (300, 2, 2));
    let ann = reader.user("ann").unwrap().unwrap();
    assert_eq!((ann.password, ann.roles), (None, names(&["one", "two"])));
    assert_eq!(ann.password_generation, 300);
    let two = reader.role("two").unwrap().unwrap();
    let expected = [
        permission(Access::Read, "a"),
        permission(Access::ReadWrite, "b"),
    ];
    assert_eq!(two.permissions, expected);
}

#[test]
fn a_backup_that_enables_authentication_without_root_is_refused() {
    for roles in [None, Some(Vec::new())] {
        let mut restore = Restore::new(Arc::new(MemEngine::new()));
        restore.auth(true, AuthRevision(300));
        if let Some(roles) = roles {
            restore.user("root".to_owned(), None, roles);
        }
        restore.finish(NOWHERE, &adapter).unwrap_err();
    }
    let mut restore = Restore::new(Arc::new(MemEngine::new()));
    restore.auth(false, AuthRevision(300));
    restore.finish(NOWHERE, &adapter).unwrap();
}

#[test]
fn the_auth_revision_of_kept_rows_is_told() {
    let before = with_users();
    let mut restore = Restore::new(Arc::new(MemEngine::new()));
    for (key, value) in rows(&*before, Table::Cluster) {
        let is_secret = *key == *b"J";
        assert_eq!(
            Restore::is_kept(Table::Cluster, &key),
            !is_secret,
            "{key:?}"
        );
        match restore.keep(Table::Cluster, key, value) {
            Ok(()) => assert!(!is_secret),
            Err(_) => assert!(is_secret),
        }
    }
    let expected = Reader::new(&*before).unwrap().auth().unwrap().revision;
    assert_eq!(restore.kept_auth_revision(), Some(expected));
}

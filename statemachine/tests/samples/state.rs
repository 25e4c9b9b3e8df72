//! A state with rows of every kind that locks, registrations, sessions, policies and wills have.

use std::sync::Arc;

use bytes::Bytes;
use tenure_statemachine::{
    Acquire, ClaimCommand, ClusterTime, Command, Conditional, Context, Drain, FenceCommand,
    FencePolicy, ForceRelease, InstanceName, LeaseExpiry, LeaseId, MemEngine, Mode, Put, Register,
    RegistryCommand, RequestId, Revision, SessionOpen, StateMachine, Ttl, Txn, TxnOp, Wait, Will,
    WillSet,
};

/// Long enough for every lease that is not to expire.
const LONG: Ttl = Ttl(3_600_000);

fn put(key: &'static str) -> Put {
    Put {
        key: key.into(),
        value: "value".into(),
        ..Put::default()
    }
}

/// A put of `key` under an id.
pub(crate) fn identified(request: RequestId, key: &'static str) -> Command {
    Command::Conditional(Box::new(Conditional {
        guards: Vec::new(),
        request: Some(request),
        command: Command::Put(put(key)),
    }))
}

pub(crate) fn numbered() -> RequestId {
    RequestId::Session {
        session: LeaseId(7),
        sequence: 300,
        answered: 299,
    }
}

pub(crate) fn keyed() -> RequestId {
    RequestId::Key(Bytes::from_static(b"id"))
}

fn acquire(names: &[&'static str], lease: i64, mode: Mode) -> Acquire {
    Acquire {
        names: names
            .iter()
            .map(|name| Bytes::from_static(name.as_bytes()))
            .collect(),
        mode,
        lease: LeaseId(lease),
        grant: Some(LONG),
        lock_delay: Ttl(30_000),
        principal: "me".to_owned(),
        value: "value".into(),
        ..Acquire::default()
    }
}

fn instance(service: &str, id: i64) -> InstanceName {
    InstanceName {
        service: service.to_owned(),
        id: id.to_string(),
    }
}

fn script() -> Vec<Command> {
    let claim = |acquire| Command::Claim(ClaimCommand::Acquire(acquire));
    let permits = Mode::Permits { count: 1, limit: 2 };
    let bundle = Acquire {
        wait: Wait::Within(Ttl(60_000)),
        ..acquire(&["a", "lock"], 9, Mode::Shared)
    };
    let lost = Command::Claim(ClaimCommand::ForceRelease(ForceRelease {
        name: "lost".into(),
        token: Revision(0),
        why: "stuck".to_owned(),
    }));
    let will = |lease, lock: Option<&'static str>| {
        let txn = Txn {
            success: vec![TxnOp::Put(put("will"))],
            ..Txn::default()
        };
        Command::WillSet(WillSet {
            lease: LeaseId(lease),
            lock: lock.map(Bytes::from),
            will: Some(Will {
                guards: Vec::new(),
                txn,
            }),
        })
    };
    let register = |service: &str, id, ttl| {
        Command::Registry(RegistryCommand::Register(Register {
            name: instance(service, id),
            lease: LeaseId(id),
            grant: Some(ttl),
            ..Register::default()
        }))
    };
    let drain = Command::Registry(RegistryCommand::Drain(Drain {
        name: instance("web", 30),
        incarnation: Revision(0),
        grace: Ttl(60_000),
    }));
    let expire = |id| LeaseExpiry {
        id: LeaseId(id),
        generation: 1,
        term: 3,
    };
    let mut script = vec![
        Command::SessionOpen(SessionOpen {
            lease: LeaseId(7),
            grant: Some(LONG),
        }),
        identified(numbered(), "by number"),
        identified(keyed(), "by key"),
        claim(acquire(&["lock"], 8, Mode::Exclusive)),
        claim(bundle),
        claim(acquire(&["permits"], 10, permits)),
        claim(acquire(&["lost"], 11, Mode::Exclusive)),
        lost,
        will(7, None),
        will(8, Some("lock")),
        Command::Fence(FenceCommand::Set(FencePolicy {
            prefix: "app/".into(),
            lock: "lock".into(),
        })),
        register("web", 30, LONG),
        drain,
    ];
    script.extend((20..24).map(|id| register("flaky", id, Ttl(1_000))));
    script.push(Command::LeaseExpire((20..24).map(expire).collect()));
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
        assert!(outcome.reply.is_ok(), "{command:?}: {outcome:?}");
    }
    batch.commit().unwrap();
    engine
}

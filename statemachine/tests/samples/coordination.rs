//! One command of every kind on claims, registrations, sessions, policies and wills, and one under
//! every kind of condition.

use bytes::Bytes;
use tenure_statemachine::{
    Acquire, ClaimCommand, Command, Conditional, Deregister, Drain, FenceCommand, FencePolicy,
    ForceRelease, Guard, HandOver, InstanceName, LeaseId, Mode, Proclaim, Readiness, Register,
    RegistryCommand, Release, RequestId, Revision, SessionOpen, SetReadiness, Transfer, Ttl, Wait,
    Will, WillSet, Withdraw,
};

fn name() -> Bytes {
    Bytes::from_static(b"lock")
}

const TOKEN: Revision = Revision(300);

fn guards() -> Vec<Guard> {
    let name = name();
    vec![Guard { name, token: TOKEN }]
}

fn conditional(guards: Vec<Guard>, request: Option<RequestId>) -> Command {
    Command::Conditional(Box::new(Conditional {
        guards,
        request,
        command: Command::LeaseRevoke(LeaseId(7)),
    }))
}

/// Under a key of a client.
pub(crate) fn keyed_by_client() -> Command {
    let key = Bytes::from_static(b"id");
    conditional(Vec::new(), Some(RequestId::ClientKey { client: 300, key }))
}

fn conditions() -> Vec<(&'static str, Command)> {
    let session = RequestId::Session {
        session: LeaseId(-7),
        sequence: 300,
        answered: 299,
    };
    let key = RequestId::Key(Bytes::from_static(b"id"));
    vec![
        ("guarded", conditional(guards(), None)),
        ("numbered", conditional(Vec::new(), Some(session))),
        ("keyed", conditional(guards(), Some(key))),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of samples")]
fn claims() -> Vec<(&'static str, Command)> {
    let acquire = Acquire {
        names: vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")],
        mode: Mode::Permits { count: 2, limit: 3 },
        lease: LeaseId(7),
        grant: Some(Ttl(60_000)),
        wait: Wait::Within(Ttl(5_000)),
        lock_delay: Ttl(1_000),
        principal: "me".to_owned(),
        value: Bytes::from_static(b"value"),
        rejoin: true,
        call: u64::MAX,
    };
    let shared = Acquire {
        names: vec![name()],
        mode: Mode::Shared,
        wait: Wait::Never,
        ..Acquire::default()
    };
    let alone = Acquire {
        names: vec![name()],
        ..Acquire::default()
    };
    let (name, token, to) = (name(), TOKEN, LeaseId(8));
    let commands = [
        ("acquire", ClaimCommand::Acquire(acquire)),
        ("acquire_shared", ClaimCommand::Acquire(shared)),
        ("acquire_alone", ClaimCommand::Acquire(alone)),
        (
            "release",
            ClaimCommand::Release(Release {
                name: name.clone(),
                token,
            }),
        ),
        (
            "withdraw",
            ClaimCommand::Withdraw(Withdraw {
                name: name.clone(),
                lease: to,
                call: 300,
            }),
        ),
        (
            "transfer",
            ClaimCommand::Transfer(Transfer {
                name: name.clone(),
                token,
                to,
                principal: "you".to_owned(),
            }),
        ),
        (
            "hand_over",
            ClaimCommand::HandOver(HandOver {
                name: name.clone(),
                token,
                to,
            }),
        ),
        (
            "proclaim",
            ClaimCommand::Proclaim(Proclaim {
                name: name.clone(),
                token,
                value: Bytes::from_static(b"value"),
            }),
        ),
        (
            "force_release",
            ClaimCommand::ForceRelease(ForceRelease {
                name,
                token,
                why: "stuck".to_owned(),
            }),
        ),
    ];
    let command = |(name, command)| (name, Command::Claim(command));
    commands.map(command).to_vec()
}

fn registry() -> Vec<(&'static str, Command)> {
    let name = InstanceName {
        service: "web".to_owned(),
        id: "1".to_owned(),
    };
    let incarnation = TOKEN;
    let register = Register {
        name: name.clone(),
        instance: Bytes::from_static(b"instance"),
        incarnation,
        lease: LeaseId(7),
        grant: Some(Ttl(60_000)),
    };
    let readiness = |readiness| {
        RegistryCommand::SetReadiness(SetReadiness {
            name: name.clone(),
            incarnation,
            readiness,
        })
    };
    let commands = [
        ("register", RegistryCommand::Register(register)),
        ("readiness_starting", readiness(Readiness::Starting)),
        ("readiness_ready", readiness(Readiness::Ready)),
        ("readiness_draining", readiness(Readiness::Draining)),
        ("readiness_not_ready", readiness(Readiness::NotReady)),
        (
            "drain",
            RegistryCommand::Drain(Drain {
                name: name.clone(),
                incarnation,
                grace: Ttl(30_000),
            }),
        ),
        (
            "deregister",
            RegistryCommand::Deregister(Deregister {
                name: name.clone(),
                incarnation,
            }),
        ),
    ];
    let command = |(name, command)| (name, Command::Registry(command));
    commands.map(command).to_vec()
}

/// A sample of every command that came after the first ten.
pub(crate) fn commands() -> Vec<(&'static str, Command)> {
    let open = |grant| {
        let lease = LeaseId(7);
        Command::SessionOpen(SessionOpen { lease, grant })
    };
    let policy = FencePolicy {
        prefix: Bytes::from_static(b"app/"),
        lock: name(),
    };
    let will = |lock, will| {
        let lease = LeaseId(7);
        Command::WillSet(WillSet { lease, lock, will })
    };
    let last = Will {
        guards: guards(),
        ..Will::default()
    };
    let mut commands = conditions();
    commands.extend(claims());
    commands.extend(registry());
    commands.extend([
        ("session_open", open(None)),
        ("session_open_granting", open(Some(Ttl(60_000)))),
        ("fence_set", Command::Fence(FenceCommand::Set(policy))),
        (
            "fence_remove",
            Command::Fence(FenceCommand::Remove(Bytes::from_static(b"app/"))),
        ),
        ("will_set", will(Some(name()), Some(last))),
        ("will_remove", will(None, None)),
        ("wake", Command::Wake),
    ]);
    commands
}

//! Commands on claims, registrations, sessions, policies and wills at random, and conditions on
//! any command. For the codec: they need not make sense together.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*, sample::select};
use tenure_statemachine::{
    Acquire, ClaimCommand, Command, Conditional, Deregister, Drain, FenceCommand, FencePolicy,
    ForceRelease, Guard, HandOver, InstanceName, LeaseId, Mode, Proclaim, Readiness, Register,
    RegistryCommand, Release, RequestId, Revision, SessionOpen, SetReadiness, Transfer, Ttl, Wait,
    Will, WillSet, Withdraw,
};

pub(crate) fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..6).prop_map(Bytes::from)
}

pub(crate) fn text() -> impl Strategy<Value = String> {
    "[a-zé/]{0,5}"
}

pub(crate) fn lease() -> impl Strategy<Value = LeaseId> {
    any::<i64>().prop_map(LeaseId)
}

pub(crate) fn revision() -> impl Strategy<Value = Revision> {
    any::<i64>().prop_map(Revision)
}

pub(crate) fn ttl() -> impl Strategy<Value = Ttl> {
    any::<u64>().prop_map(Ttl)
}

pub(crate) fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Exclusive),
        Just(Mode::Shared),
        (any::<u32>(), any::<u32>()).prop_map(|(count, limit)| Mode::Permits { count, limit }),
    ]
}

fn acquire() -> impl Strategy<Value = Acquire> {
    let wait = prop_oneof![
        Just(Wait::Never),
        ttl().prop_map(Wait::Within),
        Just(Wait::Always),
    ];
    let lease = (lease(), option::of(ttl()));
    let said = (text(), bytes(), any::<bool>(), any::<u64>());
    (vec(bytes(), 0..3), mode(), lease, wait, ttl(), said).prop_map(
        |(names, mode, (lease, grant), wait, lock_delay, (principal, value, rejoin, call))| {
            Acquire {
                names,
                mode,
                lease,
                grant,
                wait,
                lock_delay,
                principal,
                value,
                rejoin,
                call,
            }
        },
    )
}

fn claim() -> impl Strategy<Value = ClaimCommand> {
    let held = || (bytes(), revision());
    prop_oneof![
        3 => acquire().prop_map(ClaimCommand::Acquire),
        1 => held().prop_map(|(name, token)| ClaimCommand::Release(Release { name, token })),
        1 => (bytes(), lease(), any::<u64>())
            .prop_map(|(name, lease, call)| ClaimCommand::Withdraw(Withdraw { name, lease, call })),
        1 => (held(), lease(), text()).prop_map(|((name, token), to, principal)| {
            ClaimCommand::Transfer(Transfer { name, token, to, principal })
        }),
        1 => (held(), lease())
            .prop_map(|((name, token), to)| ClaimCommand::HandOver(HandOver { name, token, to })),
        1 => (held(), bytes()).prop_map(|((name, token), value)| {
            ClaimCommand::Proclaim(Proclaim { name, token, value })
        }),
        1 => (held(), ".{0,20}").prop_map(|((name, token), why)| {
            ClaimCommand::ForceRelease(ForceRelease { name, token, why })
        }),
    ]
}

fn registry() -> impl Strategy<Value = RegistryCommand> {
    let name = || (text(), text()).prop_map(|(service, id)| InstanceName { service, id });
    let which = move || (name(), revision());
    let readiness = select(&[
        Readiness::Starting,
        Readiness::Ready,
        Readiness::Draining,
        Readiness::NotReady,
    ]);
    let register = (which(), bytes(), lease(), option::of(ttl())).prop_map(
        |((name, incarnation), instance, lease, grant)| Register {
            name,
            instance,
            incarnation,
            lease,
            grant,
        },
    );
    prop_oneof![
        register.prop_map(RegistryCommand::Register),
        (which(), readiness).prop_map(|((name, incarnation), readiness)| {
            RegistryCommand::SetReadiness(SetReadiness {
                name,
                incarnation,
                readiness,
            })
        }),
        (which(), ttl()).prop_map(|((name, incarnation), grace)| {
            RegistryCommand::Drain(Drain {
                name,
                incarnation,
                grace,
            })
        }),
        which().prop_map(
            |(name, incarnation)| RegistryCommand::Deregister(Deregister { name, incarnation })
        ),
    ]
}

fn guards() -> impl Strategy<Value = Vec<Guard>> {
    let guard = (bytes(), revision()).prop_map(|(name, token)| Guard { name, token });
    vec(guard, 0..3)
}

fn fence() -> impl Strategy<Value = FenceCommand> {
    prop_oneof![
        (bytes(), bytes())
            .prop_map(|(prefix, lock)| FenceCommand::Set(FencePolicy { prefix, lock })),
        bytes().prop_map(FenceCommand::Remove),
    ]
}

fn will_set() -> impl Strategy<Value = WillSet> {
    let will = (guards(), super::txn()).prop_map(|(guards, txn)| Will { guards, txn });
    (lease(), option::of(bytes()), option::of(will)).prop_map(|(lease, lock, will)| WillSet {
        lease,
        lock,
        will,
    })
}

fn request() -> impl Strategy<Value = RequestId> {
    prop_oneof![
        (lease(), any::<u64>(), any::<u64>()).prop_map(|(session, sequence, answered)| {
            RequestId::Session {
                session,
                sequence,
                answered,
            }
        }),
        bytes().prop_map(RequestId::Key),
        (any::<u64>(), bytes()).prop_map(|(client, key)| RequestId::ClientKey { client, key }),
    ]
}

/// Any command that is not conditional.
fn plain() -> impl Strategy<Value = Command> {
    let open = (lease(), option::of(ttl())).prop_map(|(lease, grant)| SessionOpen { lease, grant });
    prop_oneof![
        8 => super::command(),
        4 => claim().prop_map(Command::Claim),
        3 => registry().prop_map(Command::Registry),
        1 => open.prop_map(Command::SessionOpen),
        2 => fence().prop_map(Command::Fence),
        2 => will_set().prop_map(Command::WillSet),
        1 => Just(Command::Wake),
    ]
}

/// Any command.
pub(crate) fn any_command() -> impl Strategy<Value = Command> {
    let conditional = (guards(), option::of(request()), plain());
    let conditional = conditional.prop_map(|(guards, request, command)| {
        Command::Conditional(Box::new(Conditional {
            guards,
            request,
            command,
        }))
    });
    prop_oneof![3 => plain(), 1 => conditional]
}

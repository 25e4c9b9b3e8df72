//! About how many bytes a command takes, for the bounds of queues and groups.

use tenure_statemachine::{
    ClaimCommand, Command, Conditional, Deregister, Drain, FenceCommand, ForceRelease, Guard,
    HandOver, InstanceName, Proclaim, Put, RangeQuery, RegistryCommand, Release, RequestId,
    SetReadiness, Transfer, Txn, TxnOp, WillSet, Withdraw,
};

/// What an operation takes besides its keys and values.
const OVERHEAD: usize = 64;

/// About how many bytes `command` takes; never far below the encoded length.
pub(super) fn of(command: &Command) -> usize {
    OVERHEAD
        + match command {
            Command::Put(put) => of_put(put),
            Command::DeleteRange(delete) => {
                delete.range.start.len() + delete.range.wire_end().len()
            }
            Command::Txn(txn) => of_txn(txn),
            Command::LeaseRenew(ids) => ids.len() * 8,
            Command::LeaseExpire(leases) => leases.len() * 16,
            Command::MemberPublish(member) => {
                member.name.len() + member.client_urls.iter().map(String::len).sum::<usize>()
            }
            Command::Conditional(conditional) => of_conditional(conditional),
            Command::Claim(command) => of_claim(command),
            Command::Registry(command) => of_registry(command),
            Command::Fence(FenceCommand::Set(policy)) => policy.prefix.len() + policy.lock.len(),
            Command::Fence(FenceCommand::Remove(prefix)) => prefix.len(),
            Command::WillSet(set) => of_will(set),
            Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::LeaseRevoke(_)
            | Command::Alarm(_)
            | Command::SessionOpen(_)
            | Command::Wake
            | Command::RaiseLevel(_) => 0,
        }
}

fn of_conditional(conditional: &Conditional) -> usize {
    let request = match &conditional.request {
        Some(RequestId::Key(key) | RequestId::ClientKey { key, .. }) => key.len(),
        Some(RequestId::Session { .. }) | None => 0,
    };
    of_guards(&conditional.guards) + request + of(&conditional.command)
}

fn of_guards(guards: &[Guard]) -> usize {
    guards.iter().map(|guard| OVERHEAD + guard.name.len()).sum()
}

fn of_claim(command: &ClaimCommand) -> usize {
    match command {
        ClaimCommand::Acquire(acquire) => {
            let names = acquire.names.iter().map(|name| OVERHEAD + name.len());
            names.sum::<usize>() + acquire.principal.len() + acquire.value.len()
        }
        ClaimCommand::Transfer(Transfer {
            name, principal, ..
        }) => name.len() + principal.len(),
        ClaimCommand::Proclaim(Proclaim { name, value, .. }) => name.len() + value.len(),
        ClaimCommand::Release(Release { name, .. })
        | ClaimCommand::Withdraw(Withdraw { name, .. })
        | ClaimCommand::HandOver(HandOver { name, .. }) => name.len(),
        ClaimCommand::ForceRelease(ForceRelease { name, why, .. }) => name.len() + why.len(),
    }
}

fn of_registry(command: &RegistryCommand) -> usize {
    let of_name = |name: &InstanceName| name.service.len() + name.id.len();
    match command {
        RegistryCommand::Register(register) => of_name(&register.name) + register.instance.len(),
        RegistryCommand::SetReadiness(SetReadiness { name, .. })
        | RegistryCommand::Drain(Drain { name, .. })
        | RegistryCommand::Deregister(Deregister { name, .. }) => of_name(name),
    }
}

fn of_will(set: &WillSet) -> usize {
    let will = set.will.as_ref();
    set.lock.as_ref().map_or(0, bytes::Bytes::len)
        + will.map_or(0, |will| of_guards(&will.guards) + of_txn(&will.txn))
}

fn of_put(put: &Put) -> usize {
    put.key.len() + put.value.len()
}

fn of_range(range: &RangeQuery) -> usize {
    range.range.start.len() + range.range.wire_end().len()
}

fn of_txn(txn: &Txn) -> usize {
    let compares = txn.compare.iter().map(|compare| {
        let value = match &compare.operand {
            tenure_statemachine::Operand::Value(value) => value.len(),
            _ => 0,
        };
        OVERHEAD + compare.range.start.len() + compare.range.wire_end().len() + value
    });
    let ops = txn.success.iter().chain(&txn.failure).map(|op| {
        OVERHEAD
            + match op {
                TxnOp::Range(range) => of_range(range),
                TxnOp::Put(put) => of_put(put),
                TxnOp::DeleteRange(delete) => {
                    delete.range.start.len() + delete.range.wire_end().len()
                }
                TxnOp::Txn(txn) => of_txn(txn),
            }
    });
    compares.sum::<usize>() + ops.sum::<usize>()
}

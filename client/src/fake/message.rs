//! Conversion of types of the state machine into protobuf messages.

use bytes::Bytes;
use prost::Message;
use tenure_proto::{
    etcdserverpb as etcd,
    metadata::{CURRENT_TOKEN_METADATA, REASON_METADATA},
    mvccpb, v1,
};
use tenure_statemachine::{
    ClaimState, ClusterTime, Command, Event, EventKind, KeyValue, Mode, Refusal, Revision,
};
use tonic::{Code, Status};

pub(super) fn header(revision: i64) -> Option<etcd::ResponseHeader> {
    Some(etcd::ResponseHeader {
        revision,
        ..etcd::ResponseHeader::default()
    })
}

pub(super) fn tenure_header(revision: i64) -> Option<v1::Header> {
    Some(v1::Header {
        revision,
        ..v1::Header::default()
    })
}

pub(super) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

pub(super) fn event(event: Event) -> mvccpb::Event {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(event.kv)),
        prev_kv: None,
    }
}

pub(super) fn claim(claim: ClaimState, now: ClusterTime) -> v1::Claim {
    use v1::mode::Kind;
    let kind = match claim.mode {
        Mode::Exclusive => Kind::Exclusive(true),
        Mode::Shared => Kind::Shared(true),
        Mode::Permits { count, limit } => Kind::Permits(v1::Permits { count, limit }),
    };
    v1::Claim {
        name: claim.name,
        key: claim.key,
        lease: claim.lease.0,
        token: claim.token.0,
        mode: Some(v1::Mode { kind: Some(kind) }),
        held: claim.held,
        since_ms: now.0.saturating_sub(claim.since.0),
        principal: claim.principal,
        value: claim.value,
        position: claim.position,
    }
}

pub(super) fn registration(kv: KeyValue) -> v1::Registration {
    let instance = v1::Instance::decode(kv.value).expect("the client encoded it");
    v1::Registration {
        instance: Some(instance),
        incarnation: kv.create_revision.0,
        lease: kv.lease.0,
        revision: kv.mod_revision.0,
    }
}

/// Returns how a command is recorded among the executed ones.
pub(super) fn executed(command: &Command) -> Option<String> {
    match command {
        Command::Put(put) => {
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            Some(format!("put {} = {}", text(&put.key), text(&put.value)))
        }
        Command::Txn(_) => Some("txn".to_owned()),
        Command::DeleteRange(_) => Some("delete".to_owned()),
        _ => None,
    }
}

/// Converts a refusal into the status that a server returns.
pub(super) fn refused(refused: Refusal) -> Status {
    let current = |current: Revision| (current.0 != 0).then_some(current.0);
    // Reasons have the names of refusals.
    let debug = format!("{refused:?}");
    let end = debug.find(|c: char| !c.is_alphanumeric());
    let reason = &debug[..end.unwrap_or(debug.len())];
    match refused {
        Refusal::LeaseNotFound => Status::not_found("etcdserver: requested lease not found"),
        Refusal::LeaseExists => Status::failed_precondition("etcdserver: lease already exists"),
        Refusal::KeyNotFound => Status::invalid_argument("etcdserver: key not found"),
        Refusal::Compacted { .. } => {
            Status::out_of_range("etcdserver: mvcc: required revision has been compacted")
        }
        Refusal::FutureRevision { .. } => {
            Status::out_of_range("etcdserver: mvcc: required revision is a future revision")
        }
        Refusal::GuardStale(stale) | Refusal::NotHolder(stale) => {
            refusal(reason, Code::FailedPrecondition, current(stale.current))
        }
        Refusal::InstanceReplaced { current: now, .. } => {
            refusal(reason, Code::FailedPrecondition, current(now))
        }
        _ if reason.ends_with("NotFound") || reason == "CandidateUnknown" => {
            refusal(reason, Code::NotFound, None)
        }
        _ => refusal(reason, Code::FailedPrecondition, None),
    }
}

/// Returns the status of a refusal with one of tenure's own reasons.
pub(super) fn refusal(reason: &str, code: Code, current: Option<i64>) -> Status {
    let mut status = Status::new(code, format!("tenure: {reason}"));
    let metadata = status.metadata_mut();
    metadata.insert(REASON_METADATA, reason.parse().expect("a reason is ASCII"));
    if let Some(current) = current {
        let current = current.to_string().parse().expect("a number is ASCII");
        metadata.insert(CURRENT_TOKEN_METADATA, current);
    }
    status
}

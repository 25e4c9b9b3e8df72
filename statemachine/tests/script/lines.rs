//! Replies as the lines of a transcript.

use tenure_statemachine::{
    DeleteReply, Event, EventKind, KeyValue, Outcome, RangeReply, Reply, TxnOpReply, TxnReply,
};

use super::{claims, registry};

/// Bytes as text, zero bytes as `\0`, nothing as `''`.
pub(crate) fn text(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "''".to_owned();
    }
    String::from_utf8_lossy(bytes).replace('\0', "\\0")
}

pub(crate) fn record(kv: &KeyValue) -> String {
    let (create, modified) = (kv.create_revision, kv.mod_revision);
    let lease = if kv.lease.is_some() {
        format!(" lease={}", kv.lease.0)
    } else {
        String::new()
    };
    let value = registry::value(kv).unwrap_or_else(|| text(&kv.value));
    let (key, version) = (text(&kv.key), kv.version);
    format!("{key}={value} create={create} mod={modified} version={version}{lease}")
}

pub(crate) fn outcome(outcome: &Outcome) -> Vec<String> {
    let revision = outcome.revision;
    let mut lines = match &outcome.reply {
        Err(refusal) => vec![format!("refused at {revision}: {refusal}")],
        Ok(reply) => {
            let mut lines = vec![format!("ok at {revision}")];
            lines.extend(reply_lines(reply));
            lines
        }
    };
    lines.extend(outcome.events.iter().map(event));
    lines.extend(outcome.signals.iter().map(claims::signal));
    lines
}

fn reply_lines(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Put(previous) => previous_lines(previous.as_slice()),
        Reply::DeleteRange(reply) => delete(reply),
        Reply::Txn(reply) => txn(reply),
        Reply::LeaseGrant(id, ttl) => vec![format!("lease {} ttl={}", id.0, ttl.0)],
        Reply::LeaseRenew(renewed) => vec![format!(
            "renewed {:?}",
            renewed
                .iter()
                .map(|ttl| ttl.map(|ttl| ttl.0))
                .collect::<Vec<_>>()
        )],
        Reply::LeaseExpire(ended) => {
            vec![format!(
                "ended {:?}",
                ended.iter().map(|id| id.0).collect::<Vec<_>>()
            )]
        }
        Reply::Alarm(alarms) => alarms
            .iter()
            .map(|(member, kind)| format!("alarm {member} {kind:?}"))
            .collect(),
        Reply::Register(incarnation, lease, ttl) => vec![format!(
            "registered incarnation={incarnation} lease={} ttl={}",
            lease.0, ttl.0
        )],
        Reply::Wake(done) => vec![format!("woke {done}")],
        Reply::Compact | Reply::LeaseRevoke | Reply::MemberPublish | Reply::Done => Vec::new(),
        Reply::Acquire(_) | Reply::Withdraw(_) | Reply::Claim(_) | Reply::ForceRelease(_) => {
            claims::reply(reply)
        }
        Reply::SessionOpen(lease, ttl) => vec![format!("session {} ttl={}", lease.0, ttl.0)],
    }
}

fn previous_lines(previous: &[KeyValue]) -> Vec<String> {
    previous
        .iter()
        .map(|kv| format!("previous {}", record(kv)))
        .collect()
}

fn delete(reply: &DeleteReply) -> Vec<String> {
    let mut lines = vec![format!("deleted {}", reply.deleted)];
    lines.extend(previous_lines(&reply.previous));
    lines
}

pub(crate) fn range(reply: &RangeReply) -> Vec<String> {
    let more = if reply.more { " and more" } else { "" };
    let mut lines = vec![format!("count {}{more}", reply.count)];
    lines.extend(reply.kvs.iter().map(record));
    lines
}

pub(crate) fn txn(reply: &TxnReply) -> Vec<String> {
    let mut lines = vec![if reply.succeeded { "then" } else { "else" }.to_owned()];
    for reply in &reply.replies {
        let (head, within) = match reply {
            TxnOpReply::Range(revision, reply) => (format!("get at {revision}"), range(reply)),
            TxnOpReply::Put(revision, previous) => (
                format!("put at {revision}"),
                previous_lines(previous.as_slice()),
            ),
            TxnOpReply::DeleteRange(revision, reply) => {
                (format!("delete at {revision}"), delete(reply))
            }
            TxnOpReply::Txn(revision, reply) => (format!("txn at {revision}"), txn(reply)),
        };
        lines.push(format!("  {head}"));
        lines.extend(within.into_iter().map(|line| format!("    {line}")));
    }
    lines
}

pub(crate) fn event(event: &Event) -> String {
    let previous = event.previous.as_ref();
    let previous = previous.map_or_else(String::new, |kv| format!(" (was {})", record(kv)));
    match event.kind {
        EventKind::Put => format!("event put {}{previous}", record(&event.kv)),
        EventKind::Delete => {
            let (key, revision) = (text(&event.kv.key), event.kv.mod_revision);
            format!("event delete {key} mod={revision}{previous}")
        }
    }
}

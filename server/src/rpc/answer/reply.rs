//! Replies as wire messages, with etcd's header and its exceptions.
//!
//! Bytes are moved, not copied. Nothing here decides anything.

use tenure_proto::{
    etcdserverpb::{self as wire, response_op::Response},
    mvccpb, v1,
};
use tenure_statemachine::{
    AlarmKind, DeleteReply, KeyValue, MemberId, RangeReply, Revision, TxnOpReply, TxnReply,
};
use tokio::sync::watch;

use crate::node::{Leadership, Replica};

/// Makes response headers.
#[derive(Clone, Debug)]
pub(crate) struct Headers {
    cluster_id: u64,
    member_id: u64,
    leadership: watch::Receiver<Leadership>,
}

impl Headers {
    pub(crate) fn of(replica: &dyn Replica) -> Self {
        let identity = replica.identity();
        Self {
            cluster_id: identity.cluster_id,
            member_id: identity.member_id.0,
            leadership: replica.leadership(),
        }
    }

    /// The header of a response about the key space at `revision`.
    pub(crate) fn at(&self, revision: Revision) -> wire::ResponseHeader {
        wire::ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: revision.0,
            raft_term: self.leadership.borrow().term,
        }
    }

    /// As [`Headers::at`], in the form of tenure's own calls.
    pub(crate) fn own(&self, revision: Revision) -> v1::Header {
        v1::Header {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: revision.0,
        }
    }

    /// The header of a response that is not about the key space.
    pub(crate) fn without_revision(&self) -> wire::ResponseHeader {
        self.at(Revision(0))
    }
}

pub(crate) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

pub(in crate::rpc) fn range(
    header: wire::ResponseHeader,
    reply: RangeReply,
) -> wire::RangeResponse {
    wire::RangeResponse {
        header: Some(header),
        kvs: reply.kvs.into_iter().map(key_value).collect(),
        more: reply.more,
        count: reply.count,
    }
}

pub(in crate::rpc) fn put(
    header: wire::ResponseHeader,
    previous: Option<KeyValue>,
) -> wire::PutResponse {
    wire::PutResponse {
        header: Some(header),
        prev_kv: previous.map(key_value),
    }
}

pub(in crate::rpc) fn delete_range(
    header: wire::ResponseHeader,
    reply: DeleteReply,
) -> wire::DeleteRangeResponse {
    wire::DeleteRangeResponse {
        header: Some(header),
        deleted: reply.deleted,
        prev_kvs: reply.previous.into_iter().map(key_value).collect(),
    }
}

pub(in crate::rpc) fn txn(header: wire::ResponseHeader, reply: TxnReply) -> wire::TxnResponse {
    wire::TxnResponse {
        header: Some(header),
        succeeded: reply.succeeded,
        responses: reply.replies.into_iter().map(operation).collect(),
    }
}

fn operation(reply: TxnOpReply) -> wire::ResponseOp {
    let response = match reply {
        TxnOpReply::Range(revision, reply) => Response::ResponseRange(range(only(revision), reply)),
        TxnOpReply::Put(revision, reply) => Response::ResponsePut(put(only(revision), reply)),
        TxnOpReply::DeleteRange(revision, reply) => {
            Response::ResponseDeleteRange(delete_range(only(revision), reply))
        }
        // etcd leaves the header of a transaction within another one empty.
        TxnOpReply::Txn(_, reply) => Response::ResponseTxn(txn(only(Revision(0)), reply)),
    };
    wire::ResponseOp {
        response: Some(response),
    }
}

/// The header of a response within a transaction, which carries only a revision.
fn only(revision: Revision) -> wire::ResponseHeader {
    wire::ResponseHeader {
        revision: revision.0,
        ..wire::ResponseHeader::default()
    }
}

pub(in crate::rpc) fn alarm((member, kind): (MemberId, AlarmKind)) -> wire::AlarmMember {
    wire::AlarmMember {
        member_id: member.0,
        alarm: alarm_type(kind) as i32,
    }
}

pub(in crate::rpc) const fn alarm_type(kind: AlarmKind) -> wire::AlarmType {
    match kind {
        AlarmKind::NoSpace => wire::AlarmType::Nospace,
        AlarmKind::Corrupt => wire::AlarmType::Corrupt,
    }
}

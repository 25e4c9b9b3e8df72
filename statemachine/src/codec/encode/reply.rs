//! Outcomes to bytes: what a request came to, for when it is repeated.

use bytes::Bytes;

use super::{Encoder, OUTCOME_VERSION, tag};
use crate::{
    outcome::{
        AcquireReply, ClaimState, DeleteReply, Outcome, RangeReply, Reply, TxnOpReply, TxnReply,
    },
    types::KeyValue,
};

/// Encodes the reply and the revision of an outcome, without its events and signals; `None` when
/// that takes more than `bytes_max` bytes.
#[must_use]
pub fn encode_outcome(outcome: &Outcome, bytes_max: usize) -> Option<Bytes> {
    let mut out = Encoder::new();
    out.enough = bytes_max;
    out.byte(OUTCOME_VERSION);
    out.revision(outcome.revision);
    match &outcome.reply {
        Ok(reply) => {
            out.byte(tag::OUTCOME_DONE);
            out.reply(reply);
        }
        Err(refusal) => {
            out.byte(tag::OUTCOME_REFUSED);
            out.refusal(refusal);
        }
    }
    (out.out.len() <= bytes_max).then(|| out.out.freeze())
}

impl Encoder {
    fn reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Put(previous) => {
                self.byte(tag::REPLY_PUT);
                self.option(previous.as_ref(), Self::key_value);
            }
            Reply::DeleteRange(reply) => {
                self.byte(tag::REPLY_DELETE_RANGE);
                self.delete_reply(reply);
            }
            Reply::Txn(reply) => {
                self.byte(tag::REPLY_TXN);
                self.txn_reply(reply);
            }
            Reply::Compact => self.byte(tag::REPLY_COMPACT),
            Reply::LeaseGrant(id, ttl) => {
                self.byte(tag::REPLY_LEASE_GRANT);
                self.lease(*id);
                self.ttl(*ttl);
            }
            Reply::LeaseRevoke => self.byte(tag::REPLY_LEASE_REVOKE),
            Reply::LeaseRenew(renewed) => {
                self.byte(tag::REPLY_LEASE_RENEW);
                self.list(renewed, |out, ttl| out.option(*ttl, Self::ttl));
            }
            Reply::LeaseExpire(ended) => {
                self.byte(tag::REPLY_LEASE_EXPIRE);
                self.list(ended, |out, id| out.lease(*id));
            }
            Reply::Alarm(alarms) => {
                self.byte(tag::REPLY_ALARM);
                self.list(alarms, |out, (member, kind)| {
                    out.number(member.0);
                    out.alarm_kind(Some(*kind));
                });
            }
            Reply::MemberPublish => self.byte(tag::REPLY_MEMBER_PUBLISH),
            Reply::Acquire(reply) => {
                self.byte(tag::REPLY_ACQUIRE);
                self.acquire_reply(reply);
            }
            Reply::Done => self.byte(tag::REPLY_DONE),
            Reply::Withdraw(existed) => {
                self.byte(tag::REPLY_WITHDRAW);
                self.yes_or_no(*existed);
            }
            Reply::Claim(claim) => {
                self.byte(tag::REPLY_CLAIM);
                self.claim_state(claim);
            }
            Reply::ForceRelease(claims) => {
                self.byte(tag::REPLY_FORCE_RELEASE);
                self.list(claims, Self::claim_state);
            }
            Reply::Register(incarnation, lease, ttl) => {
                self.byte(tag::REPLY_REGISTER);
                self.revision(*incarnation);
                self.lease(*lease);
                self.ttl(*ttl);
            }
            Reply::SessionOpen(lease, ttl) => {
                self.byte(tag::REPLY_SESSION_OPEN);
                self.lease(*lease);
                self.ttl(*ttl);
            }
            Reply::Wake(done) => {
                self.byte(tag::REPLY_WAKE);
                self.number(*done);
            }
        }
    }

    fn key_value(&mut self, kv: &KeyValue) {
        self.bytes(&kv.key);
        self.revision(kv.create_revision);
        self.revision(kv.mod_revision);
        self.signed(kv.version);
        self.bytes(&kv.value);
        self.lease(kv.lease);
    }

    fn range_reply(&mut self, reply: &RangeReply) {
        self.list(&reply.kvs, Self::key_value);
        self.yes_or_no(reply.more);
        self.signed(reply.count);
    }

    fn delete_reply(&mut self, reply: &DeleteReply) {
        self.signed(reply.deleted);
        self.list(&reply.previous, Self::key_value);
    }

    fn txn_reply(&mut self, reply: &TxnReply) {
        self.yes_or_no(reply.succeeded);
        self.list(&reply.replies, Self::txn_op_reply);
    }

    fn txn_op_reply(&mut self, reply: &TxnOpReply) {
        match reply {
            TxnOpReply::Range(revision, reply) => {
                self.byte(tag::OP_RANGE);
                self.revision(*revision);
                self.range_reply(reply);
            }
            TxnOpReply::Put(revision, previous) => {
                self.byte(tag::OP_PUT);
                self.revision(*revision);
                self.option(previous.as_ref(), Self::key_value);
            }
            TxnOpReply::DeleteRange(revision, reply) => {
                self.byte(tag::OP_DELETE_RANGE);
                self.revision(*revision);
                self.delete_reply(reply);
            }
            TxnOpReply::Txn(revision, reply) => {
                self.byte(tag::OP_TXN);
                self.revision(*revision);
                self.txn_reply(reply);
            }
        }
    }

    fn acquire_reply(&mut self, reply: &AcquireReply) {
        self.lease(reply.lease);
        self.ttl(reply.ttl);
        self.list(&reply.claims, Self::claim_state);
        self.option(reply.blocker.as_ref(), Self::claim_state);
    }

    fn claim_state(&mut self, claim: &ClaimState) {
        self.bytes(&claim.name);
        self.bytes(&claim.key);
        self.lease(claim.lease);
        self.revision(claim.token);
        self.mode(claim.mode);
        self.yes_or_no(claim.held);
        self.number(claim.since.0);
        self.text(&claim.principal);
        self.bytes(&claim.value);
        self.number(claim.position.into());
    }
}

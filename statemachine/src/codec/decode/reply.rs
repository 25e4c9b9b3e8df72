//! Bytes to outcomes.

use bytes::Bytes;

use super::{Decoder, OUTCOME_VERSION, TXN_DEPTH_MAX, refuse, tag};
use crate::{
    error::Fault,
    outcome::{
        AcquireReply, ClaimState, DeleteReply, Facts, Outcome, RangeReply, Reply, TxnOpReply,
        TxnReply,
    },
    types::{ClusterTime, KeyValue, MemberId},
};

/// Decodes an outcome. It has no events and no signals.
///
/// # Errors
/// [`Fault::Command`] when the bytes are not such an outcome.
pub fn decode_outcome(bytes: Bytes) -> Result<Outcome, Fault> {
    let mut input = Decoder::new(bytes)?;
    input.version(OUTCOME_VERSION)?;
    let revision = input.revision()?;
    let reply = match input.byte()? {
        tag::OUTCOME_DONE => Ok(input.reply()?),
        tag::OUTCOME_REFUSED => Err(input.refusal()?),
        _ => return refuse("neither done nor refused"),
    };
    input.end()?;
    Ok(Outcome {
        reply,
        revision,
        events: Vec::new(),
        signals: Vec::new(),
        facts: Facts::default(),
    })
}

impl Decoder {
    fn reply(&mut self) -> Result<Reply, Fault> {
        Ok(match self.byte()? {
            tag::REPLY_PUT => Reply::Put(self.option(Self::key_value)?),
            tag::REPLY_DELETE_RANGE => Reply::DeleteRange(self.delete_reply()?),
            tag::REPLY_TXN => Reply::Txn(self.txn_reply(TXN_DEPTH_MAX)?),
            tag::REPLY_COMPACT => Reply::Compact,
            tag::REPLY_LEASE_GRANT => Reply::LeaseGrant(self.lease()?, self.ttl()?),
            tag::REPLY_LEASE_REVOKE => Reply::LeaseRevoke,
            tag::REPLY_LEASE_RENEW => {
                Reply::LeaseRenew(self.list(|input| input.option(Self::ttl))?)
            }
            tag::REPLY_LEASE_EXPIRE => Reply::LeaseExpire(self.list(Self::lease)?),
            tag::REPLY_ALARM => Reply::Alarm(self.list(|input| {
                let member = MemberId(input.number()?);
                match input.alarm_kind()? {
                    Some(kind) => Ok((member, kind)),
                    None => refuse("an alarm of no kind"),
                }
            })?),
            tag::REPLY_MEMBER_PUBLISH => Reply::MemberPublish,
            tag::REPLY_ACQUIRE => Reply::Acquire(self.acquire_reply()?),
            tag::REPLY_DONE => Reply::Done,
            tag::REPLY_WITHDRAW => Reply::Withdraw(self.yes_or_no()?),
            tag::REPLY_CLAIM => Reply::Claim(Box::new(self.claim_state()?)),
            tag::REPLY_FORCE_RELEASE => Reply::ForceRelease(self.list(Self::claim_state)?),
            tag::REPLY_REGISTER => Reply::Register(self.revision()?, self.lease()?, self.ttl()?),
            tag::REPLY_SESSION_OPEN => Reply::SessionOpen(self.lease()?, self.ttl()?),
            tag::REPLY_WAKE => Reply::Wake(self.number()?),
            _ => return refuse("unknown reply"),
        })
    }

    fn key_value(&mut self) -> Result<KeyValue, Fault> {
        Ok(KeyValue {
            key: self.bytes()?,
            create_revision: self.revision()?,
            mod_revision: self.revision()?,
            version: self.signed()?,
            value: self.bytes()?,
            lease: self.lease()?,
        })
    }

    fn range_reply(&mut self) -> Result<RangeReply, Fault> {
        Ok(RangeReply {
            kvs: self.list(Self::key_value)?,
            more: self.yes_or_no()?,
            count: self.signed()?,
        })
    }

    fn delete_reply(&mut self) -> Result<DeleteReply, Fault> {
        Ok(DeleteReply {
            deleted: self.signed()?,
            previous: self.list(Self::key_value)?,
        })
    }

    /// As deep as the transaction that it answers may be.
    fn txn_reply(&mut self, depth: usize) -> Result<TxnReply, Fault> {
        let Some(within) = depth.checked_sub(1) else {
            return refuse("nested too deep");
        };
        Ok(TxnReply {
            succeeded: self.yes_or_no()?,
            replies: self.list(|input| input.txn_op_reply(within))?,
        })
    }

    fn txn_op_reply(&mut self, depth: usize) -> Result<TxnOpReply, Fault> {
        let tag = self.byte()?;
        let revision = self.revision()?;
        Ok(match tag {
            tag::OP_RANGE => TxnOpReply::Range(revision, self.range_reply()?),
            tag::OP_PUT => TxnOpReply::Put(revision, self.option(Self::key_value)?),
            tag::OP_DELETE_RANGE => TxnOpReply::DeleteRange(revision, self.delete_reply()?),
            tag::OP_TXN => TxnOpReply::Txn(revision, self.txn_reply(depth)?),
            _ => return refuse("unknown operation"),
        })
    }

    fn acquire_reply(&mut self) -> Result<AcquireReply, Fault> {
        Ok(AcquireReply {
            lease: self.lease()?,
            ttl: self.ttl()?,
            claims: self.list(Self::claim_state)?,
            blocker: self.option(Self::claim_state)?,
        })
    }

    fn claim_state(&mut self) -> Result<ClaimState, Fault> {
        Ok(ClaimState {
            name: self.bytes()?,
            key: self.bytes()?,
            lease: self.lease()?,
            token: self.revision()?,
            mode: self.mode()?,
            held: self.yes_or_no()?,
            since: ClusterTime(self.number()?),
            principal: self.text()?,
            value: self.bytes()?,
            position: self.small_number()?,
        })
    }
}

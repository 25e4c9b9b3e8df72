//! Bytes to guards, request ids, sessions, fence policies and wills.

use bytes::Bytes;

use super::{Decoder, TXN_DEPTH_MAX, WILL_VERSION, refuse, tag};
use crate::{
    command::{
        Conditional, FenceCommand, FencePolicy, Guard, RequestId, SessionOpen, Will, WillSet,
    },
    error::Fault,
};

/// Decodes a will.
pub(crate) fn decode_will(bytes: Bytes) -> Result<Will, Fault> {
    let mut input = Decoder::new(bytes)?;
    input.version(WILL_VERSION)?;
    let will = input.will()?;
    input.end()?;
    Ok(will)
}

impl Decoder {
    pub(super) fn conditional(&mut self) -> Result<Conditional, Fault> {
        let guards = self.list(Self::guard)?;
        let request = self.request()?;
        let tag = self.byte()?;
        let command = self.plain_command(tag)?;
        Ok(Conditional {
            guards,
            request,
            command,
        })
    }

    fn guard(&mut self) -> Result<Guard, Fault> {
        Ok(Guard {
            name: self.bytes()?,
            token: self.revision()?,
        })
    }

    fn request(&mut self) -> Result<Option<RequestId>, Fault> {
        Ok(match self.byte()? {
            tag::REQUEST_NONE => None,
            tag::REQUEST_SESSION => Some(RequestId::Session {
                session: self.lease()?,
                sequence: self.number()?,
                answered: self.number()?,
            }),
            tag::REQUEST_KEY => Some(RequestId::Key(self.bytes()?)),
            tag::REQUEST_CLIENT_KEY => Some(RequestId::ClientKey {
                client: self.number()?,
                key: self.bytes()?,
            }),
            _ => return refuse("unknown request id"),
        })
    }

    pub(super) fn session_open(&mut self) -> Result<SessionOpen, Fault> {
        Ok(SessionOpen {
            lease: self.lease()?,
            grant: self.option(Self::ttl)?,
        })
    }

    pub(super) fn fence_command(&mut self) -> Result<FenceCommand, Fault> {
        Ok(match self.byte()? {
            tag::FENCE_SET => FenceCommand::Set(FencePolicy {
                prefix: self.bytes()?,
                lock: self.bytes()?,
            }),
            tag::FENCE_REMOVE => FenceCommand::Remove(self.bytes()?),
            _ => return refuse("unknown change to the fence policies"),
        })
    }

    pub(super) fn will_set(&mut self) -> Result<WillSet, Fault> {
        Ok(WillSet {
            lease: self.lease()?,
            lock: self.option(Self::bytes)?,
            will: self.option(Self::will)?,
        })
    }

    fn will(&mut self) -> Result<Will, Fault> {
        Ok(Will {
            guards: self.list(Self::guard)?,
            txn: self.txn(TXN_DEPTH_MAX)?,
        })
    }
}

//! Bytes to commands on locks and elections.

use super::{Decoder, refuse, tag};
use crate::{
    command::{Acquire, ClaimCommand, Mode, Wait},
    error::Fault,
};

impl Decoder {
    pub(super) fn claim_command(&mut self) -> Result<ClaimCommand, Fault> {
        Ok(match self.byte()? {
            tag::CLAIM_ACQUIRE => ClaimCommand::Acquire(self.acquire()?),
            tag::CLAIM_RELEASE => ClaimCommand::Release {
                name: self.bytes()?,
                token: self.revision()?,
            },
            tag::CLAIM_WITHDRAW => ClaimCommand::Withdraw {
                name: self.bytes()?,
                lease: self.lease()?,
                call: self.number()?,
            },
            tag::CLAIM_TRANSFER => ClaimCommand::Transfer {
                name: self.bytes()?,
                token: self.revision()?,
                to: self.lease()?,
                principal: self.text()?,
            },
            tag::CLAIM_HAND_OVER => ClaimCommand::HandOver {
                name: self.bytes()?,
                token: self.revision()?,
                to: self.lease()?,
            },
            tag::CLAIM_PROCLAIM => ClaimCommand::Proclaim {
                name: self.bytes()?,
                token: self.revision()?,
                value: self.bytes()?,
            },
            tag::CLAIM_FORCE_RELEASE => ClaimCommand::ForceRelease {
                name: self.bytes()?,
                token: self.revision()?,
                why: self.text()?,
            },
            _ => return refuse("unknown operation on a claim"),
        })
    }

    fn acquire(&mut self) -> Result<Acquire, Fault> {
        Ok(Acquire {
            names: self.list(Self::bytes)?,
            mode: self.mode()?,
            lease: self.lease()?,
            grant: self.option(Self::ttl)?,
            wait: match self.byte()? {
                tag::WAIT_NEVER => Wait::Never,
                tag::WAIT_WITHIN => Wait::Within(self.ttl()?),
                tag::WAIT_ALWAYS => Wait::Always,
                _ => return refuse("unknown wait"),
            },
            lock_delay: self.ttl()?,
            principal: self.text()?,
            value: self.bytes()?,
            rejoin: self.yes_or_no()?,
            call: self.number()?,
        })
    }

    pub(super) fn mode(&mut self) -> Result<Mode, Fault> {
        Ok(match self.byte()? {
            tag::MODE_EXCLUSIVE => Mode::Exclusive,
            tag::MODE_SHARED => Mode::Shared,
            tag::MODE_PERMITS => Mode::Permits {
                count: self.small_number()?,
                limit: self.small_number()?,
            },
            _ => return refuse("unknown mode"),
        })
    }
}

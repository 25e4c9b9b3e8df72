//! Commands on locks and elections to bytes.

use super::{Encoder, tag};
use crate::command::{Acquire, ClaimCommand, Mode, Wait};

impl Encoder {
    pub(super) fn claim_command(&mut self, command: &ClaimCommand) {
        match command {
            ClaimCommand::Acquire(acquire) => {
                self.byte(tag::CLAIM_ACQUIRE);
                self.acquire(acquire);
            }
            ClaimCommand::Release { name, token } => {
                self.byte(tag::CLAIM_RELEASE);
                self.bytes(name);
                self.revision(*token);
            }
            ClaimCommand::Withdraw { name, lease, call } => {
                self.byte(tag::CLAIM_WITHDRAW);
                self.bytes(name);
                self.lease(*lease);
                self.number(*call);
            }
            ClaimCommand::Transfer {
                name,
                token,
                to,
                principal,
            } => {
                self.byte(tag::CLAIM_TRANSFER);
                self.bytes(name);
                self.revision(*token);
                self.lease(*to);
                self.text(principal);
            }
            ClaimCommand::HandOver { name, token, to } => {
                self.byte(tag::CLAIM_HAND_OVER);
                self.bytes(name);
                self.revision(*token);
                self.lease(*to);
            }
            ClaimCommand::Proclaim { name, token, value } => {
                self.byte(tag::CLAIM_PROCLAIM);
                self.bytes(name);
                self.revision(*token);
                self.bytes(value);
            }
            ClaimCommand::ForceRelease { name, token, why } => {
                self.byte(tag::CLAIM_FORCE_RELEASE);
                self.bytes(name);
                self.revision(*token);
                self.text(why);
            }
        }
    }

    fn acquire(&mut self, acquire: &Acquire) {
        self.list(&acquire.names, |out, name| out.bytes(name));
        self.mode(acquire.mode);
        self.lease(acquire.lease);
        self.option(acquire.grant, Self::ttl);
        match acquire.wait {
            Wait::Never => self.byte(tag::WAIT_NEVER),
            Wait::Within(ttl) => {
                self.byte(tag::WAIT_WITHIN);
                self.ttl(ttl);
            }
            Wait::Always => self.byte(tag::WAIT_ALWAYS),
        }
        self.ttl(acquire.lock_delay);
        self.text(&acquire.principal);
        self.bytes(&acquire.value);
        self.yes_or_no(acquire.rejoin);
        self.number(acquire.call);
    }

    pub(super) fn mode(&mut self, mode: Mode) {
        match mode {
            Mode::Exclusive => self.byte(tag::MODE_EXCLUSIVE),
            Mode::Shared => self.byte(tag::MODE_SHARED),
            Mode::Permits { count, limit } => {
                self.byte(tag::MODE_PERMITS);
                self.number(count.into());
                self.number(limit.into());
            }
        }
    }
}

//! Guards, request ids, sessions, fence policies and wills to bytes.

use bytes::Bytes;

use super::{Encoder, WILL_VERSION, tag};
use crate::command::{
    Command, Conditional, FenceCommand, Guard, RequestId, SessionOpen, Will, WillSet,
};

/// Encodes what the id of a request stands for: its guards and its command.
pub(crate) fn encode_request(guards: &[Guard], command: &Command) -> Bytes {
    let mut out = Encoder::new();
    out.list(guards, Encoder::guard);
    out.command(command);
    out.out.freeze()
}

/// Encodes a will, as its `Cluster` row holds it.
pub(crate) fn encode_will(will: &Will) -> Bytes {
    let mut out = Encoder::new();
    out.byte(WILL_VERSION);
    out.will(will);
    out.out.freeze()
}

impl Encoder {
    pub(super) fn conditional(&mut self, conditional: &Conditional) {
        self.list(&conditional.guards, Self::guard);
        match &conditional.request {
            None => self.byte(tag::REQUEST_NONE),
            Some(RequestId::Session {
                session,
                sequence,
                answered,
            }) => {
                self.byte(tag::REQUEST_SESSION);
                self.lease(*session);
                self.number(*sequence);
                self.number(*answered);
            }
            Some(RequestId::Key(key)) => {
                self.byte(tag::REQUEST_KEY);
                self.bytes(key);
            }
            Some(RequestId::ClientKey { client, key }) => {
                self.byte(tag::REQUEST_CLIENT_KEY);
                self.number(*client);
                self.bytes(key);
            }
        }
        self.command(&conditional.command);
    }

    fn guard(&mut self, guard: &Guard) {
        self.bytes(&guard.name);
        self.revision(guard.token);
    }

    pub(super) fn session_open(&mut self, open: SessionOpen) {
        self.lease(open.lease);
        self.option(open.grant, Self::ttl);
    }

    pub(super) fn fence_command(&mut self, command: &FenceCommand) {
        match command {
            FenceCommand::Set(policy) => {
                self.byte(tag::FENCE_SET);
                self.bytes(&policy.prefix);
                self.bytes(&policy.lock);
            }
            FenceCommand::Remove(prefix) => {
                self.byte(tag::FENCE_REMOVE);
                self.bytes(prefix);
            }
        }
    }

    pub(super) fn will_set(&mut self, set: &WillSet) {
        self.lease(set.lease);
        self.option(set.lock.as_ref(), |out, lock| out.bytes(lock));
        self.option(set.will.as_ref(), Self::will);
    }

    fn will(&mut self, will: &Will) {
        self.list(&will.guards, Self::guard);
        self.txn(&will.txn);
    }
}

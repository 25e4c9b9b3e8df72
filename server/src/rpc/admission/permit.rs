//! The permission to read, checked in the state that is read.

use std::sync::Arc;

use tenure_statemachine::{
    ClaimState, Lease, LeaseId, Need, ReadError, Reader, Refusal, claim_range,
};

use super::{Caller, Gate};

/// What a call may read. It is checked once more in each state that the call reads, because users
/// and permissions may have changed since.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct Permit(Arc<Held>);

#[derive(Debug)]
struct Held {
    gate: Arc<Gate>,
    caller: Caller,
    needs: Vec<Need>,
}

impl Permit {
    pub(in crate::rpc) fn new(gate: Arc<Gate>, caller: Caller, needs: Vec<Need>) -> Self {
        Self(Arc::new(Held {
            gate,
            caller,
            needs,
        }))
    }

    /// Refuses unless the call may read in the state of `reader`.
    pub(in crate::rpc) fn check(&self, reader: &Reader<'_>) -> Result<(), ReadError> {
        let Held {
            gate,
            caller,
            needs,
        } = &*self.0;
        gate.check(reader, caller, needs)
    }

    /// As [`Permit::check`]; and refuses unless a session is the caller's, or the caller is root.
    pub(in crate::rpc) fn check_owner(
        &self,
        reader: &Reader<'_>,
        session: LeaseId,
    ) -> Result<(), ReadError> {
        self.check(reader)?;
        let Held { gate, caller, .. } = &*self.0;
        if gate.check(reader, caller, &[Need::Admin]).is_ok() {
            return Ok(());
        }
        let user = gate.owner(reader, caller)?;
        if user.is_none() || user == reader.session_owner(session)? {
            return Ok(());
        }
        Err(Refusal::SessionNotFound(session).into())
    }

    /// Whether the caller may read everything in the state of `reader`, so that nothing of it needs
    /// to be left out.
    pub(in crate::rpc) fn covers_all(&self, reader: &Reader<'_>) -> Result<bool, ReadError> {
        let Held { gate, caller, .. } = &*self.0;
        match gate.check(reader, caller, &[Need::Admin]) {
            Ok(()) => Ok(true),
            Err(ReadError::Refused(_)) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Keeps those leases whose keys the caller may all read.
    pub(in crate::rpc) fn retain_readable(
        &self,
        reader: &Reader<'_>,
        leases: &mut Vec<Lease>,
    ) -> Result<(), ReadError> {
        let Held { gate, caller, .. } = &*self.0;
        gate.retain(reader, caller, leases, |lease| Need::ReadLease(lease.id))
    }

    /// Keeps those claims that the caller may read.
    pub(in crate::rpc) fn retain_claims(
        &self,
        reader: &Reader<'_>,
        claims: &mut Vec<ClaimState>,
    ) -> Result<(), ReadError> {
        let Held { gate, caller, .. } = &*self.0;
        gate.retain(reader, caller, claims, |claim| {
            Need::Read(claim_range(&claim.name))
        })
    }
}

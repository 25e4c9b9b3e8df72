//! The requests of sessions. A session is attached to a lease and numbers its requests.
//!
//! Invariant: all requests up to a session's floor are forgotten and have no row; the floor never
//! decreases; executed requests above it have a row. Rows and their bytes are counted.

use bytes::{BufMut, Bytes};

use crate::{
    access::Owner,
    command::{LeaseGrant, SessionOpen},
    engine::{Table, View},
    error::{Fault, ReadError, Refusal, damaged},
    feature::FeatureLevel,
    lease,
    meta::{Meta, Totals},
    outcome::Reply,
    read::Reader,
    rows::{
        self, Family, Overlay, Row,
        keys::{self, split_u64},
    },
    transition::Transition,
    value::{LeaseId, Limit, limit},
};

/// Outcomes that a session remembers, and so requests that may be unanswered at once; more than a
/// client of this service has in progress.
pub(super) const REMEMBERED_MAX: u32 = 1024;

/// Most bytes of the outcomes of a session; beyond that, outcomes are remembered in their short
/// form. A thousand usual outcomes take a tenth of it, and there may be thousands of sessions.
const SESSION_BYTES_MAX: u64 = 1024 * 1024;

/// The counters of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// Number of remembered outcomes.
    pub remembered: u32,
    /// Requests up to this one are forgotten.
    pub forgotten: u64,
    /// Size of the outcomes, in bytes.
    pub bytes: u64,
}

rows::row! {
    SessionState { forgotten, remembered, bytes }, "session row is not of its length"
}

impl SessionState {
    fn load(view: &dyn View, id: LeaseId) -> Result<Option<Self>, Fault> {
        Self::find(view, Table::Cluster, &session_row(id))
    }

    fn save(self, overlay: &mut Overlay, id: LeaseId) {
        overlay.put(Table::Cluster, session_row(id), self.encode());
    }

    /// Forgets every request up to `through`.
    fn forget(
        &mut self,
        overlay: &mut Overlay,
        meta: &Meta,
        id: LeaseId,
        through: u64,
    ) -> Result<(), Fault> {
        if through <= self.forgotten {
            return Ok(());
        }
        let oldest = self.forgotten.saturating_add(1);
        let before = self.bytes;
        for (row, bytes) in requests(overlay, id, oldest, through)? {
            overlay.delete(Table::Cluster, row);
            self.remembered = self.remembered.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        debug_assert!(
            self.remembered > 0 || self.bytes == 0,
            "bytes are of requests that are remembered"
        );
        self.forgotten = through;
        Totals::change_sessions(overlay, meta, before, self.bytes)
    }
}

fn session_row(id: LeaseId) -> Bytes {
    let mut row = Family::Session.row(8);
    row.put_i64(keys::ordered(id));
    row.freeze()
}

/// Returns the row of the user to whom a session belongs.
pub(super) fn owner_row(id: LeaseId) -> Bytes {
    let mut row = Family::SessionOwner.row(8);
    row.put_i64(keys::ordered(id));
    row.freeze()
}

/// Refuses a session that is not of `user`, who is bound by permissions: its outcomes may hold
/// records that another user may not read. One that was opened without a user is of none.
pub(super) fn check_owner(
    view: &dyn View,
    id: LeaseId,
    user: Option<&Owner>,
) -> Result<(), ReadError> {
    let Some(user) = user else {
        return Ok(());
    };
    let owner = Owner::find(view, Table::Cluster, &owner_row(id))?;
    if owner.is_some_and(|owner| owner == *user) {
        Ok(())
    } else {
        Err(Refusal::SessionNotFound(id).into())
    }
}

/// Returns the session of a row, if the row is a session's.
pub(super) fn read_session_row(row: &Bytes) -> Result<Option<LeaseId>, Fault> {
    Family::Session.rest(row).map(keys::read_lease).transpose()
}

fn request_row(id: LeaseId, sequence: u64) -> Bytes {
    let mut row = Family::Request.row(16);
    row.put_i64(keys::ordered(id));
    row.put_u64(sequence);
    row.freeze()
}

/// Returns the session and the number of a request's row, if the row is a request's.
pub(super) fn read_request_row(row: &Bytes) -> Result<Option<(LeaseId, u64)>, Fault> {
    let Some(rest) = Family::Request.rest(row) else {
        return Ok(None);
    };
    let parsed = (|| {
        let (id, sequence) = rest.split_at_checked(8)?;
        let (sequence, rest) = split_u64(sequence)?;
        rest.is_empty().then_some((id, sequence))
    })();
    let (id, sequence) = parsed.ok_or_else(|| damaged("request row is not of its length"))?;
    Ok(Some((keys::read_lease(id)?, sequence)))
}

/// Returns the rows of the requests `from..=through` of a session, with the size of each outcome.
fn requests(
    view: &dyn View,
    id: LeaseId,
    from: u64,
    through: u64,
) -> Result<Vec<(Bytes, u64)>, Fault> {
    let mut found = Vec::new();
    let mut cursor = view.scan(Table::Cluster, &request_row(id, from))?;
    while let Some((row, outcome)) = cursor.next()? {
        match read_request_row(&row)? {
            Some((session, sequence)) if session == id && sequence <= through => {
                found.push((row, outcome.len() as u64));
            }
            _ => break,
        }
    }
    Ok(found)
}

/// Returns the number of the oldest remembered request of a session, from `from` on.
fn oldest(view: &dyn View, id: LeaseId, from: u64) -> Result<Option<u64>, Fault> {
    let mut cursor = view.scan(Table::Cluster, &request_row(id, from))?;
    let Some((row, _)) = cursor.next()? else {
        return Ok(None);
    };
    let found = read_request_row(&row)?.filter(|(session, _)| *session == id);
    Ok(found.map(|(_, sequence)| sequence))
}

/// Returns how many more bytes a session may remember under the bound of all sessions. It may have
/// as many as are still free, so a few sessions alone leave room for the next.
fn share(view: &dyn View, meta: &Meta, session: &SessionState) -> Result<u64, Fault> {
    if meta.level < FeatureLevel::PRICED {
        return Ok(u64::MAX);
    }
    let remembered = Totals::load(view)?.sessions;
    let free = limit::SESSION_BYTES_MAX.saturating_sub(remembered);
    Ok(free.saturating_sub(session.bytes))
}

/// Returns the row of a request, or `None` for a new request. Forgets answered requests. Refused if
/// all sessions remember so much that even the short form of an outcome has no room.
pub(super) fn recall(
    overlay: &mut Overlay,
    meta: &Meta,
    id: LeaseId,
    (sequence, answered): (u64, u64),
) -> Result<Option<Bytes>, ReadError> {
    let Some(mut session) = SessionState::load(overlay, id)? else {
        return Err(Refusal::SessionNotFound(id).into());
    };
    if answered > session.forgotten {
        session.forget(overlay, meta, id, answered)?;
        session.save(overlay, id);
    }
    if sequence <= session.forgotten {
        let forgotten = session.forgotten;
        return Err(Refusal::RequestForgotten {
            sequence,
            forgotten,
        }
        .into());
    }
    let known = overlay.get(Table::Cluster, &request_row(id, sequence))?;
    if known.is_none() && share(overlay, meta, &session)? == 0 {
        Limit::SessionBytes.check(u64::MAX)?;
    }
    Ok(known)
}

/// Remembers a new request, with the row that `encode` makes for the available room. Forgets the
/// oldest request if there are too many.
pub(super) fn remember(
    overlay: &mut Overlay,
    meta: &Meta,
    id: LeaseId,
    sequence: u64,
    encode: impl FnOnce(u64) -> Option<Bytes>,
) -> Result<(), Fault> {
    // The request itself may have ended the session.
    let Some(mut session) = SessionState::load(overlay, id)? else {
        return Ok(());
    };
    let own = SESSION_BYTES_MAX.saturating_sub(session.bytes);
    let room = own.min(share(overlay, meta, &session)?);
    let Some(row) = encode(room) else {
        return Ok(());
    };
    Totals::change_sessions(overlay, meta, 0, row.len() as u64)?;
    session.bytes = session.bytes.saturating_add(row.len() as u64);
    overlay.put(Table::Cluster, request_row(id, sequence), row);
    session.remembered = session.remembered.saturating_add(1);
    if session.remembered > REMEMBERED_MAX {
        let from = session.forgotten.saturating_add(1);
        if let Some(oldest) = oldest(overlay, id, from)? {
            session.forget(overlay, meta, id, oldest)?;
        }
    }
    debug_assert!(session.remembered <= REMEMBERED_MAX, "requests are bounded");
    session.save(overlay, id);
    Ok(())
}

impl Transition<'_> {
    /// Opens a session on a lease that it grants, or confirms that one is open. An existing lease
    /// cannot become a session: clients may give leases the ids of former sessions, whose requests
    /// would be executed again.
    pub(crate) fn open_session(&mut self, open: SessionOpen) -> Result<Reply, ReadError> {
        let SessionOpen { lease: id, grant } = open;
        let user = self.owner()?;
        if let Some(ttl) = grant {
            self.grant_lease(LeaseGrant { id, ttl }, true)?;
        }
        let lease = lease::find(self.overlay, id)?.ok_or(Refusal::LeaseNotFound)?;
        if grant.is_some() {
            SessionState::default().save(self.overlay, id);
            if let Some(user) = &user {
                self.overlay
                    .put(Table::Cluster, owner_row(id), user.encode());
            }
        } else if SessionState::load(self.overlay, id)?.is_none() {
            return Err(Refusal::SessionNotFound(id).into());
        }
        check_owner(self.overlay, id, user.as_ref())?;
        Ok(Reply::SessionOpen(id, lease.ttl))
    }

    /// Ends the session of a lease that has ended, if it has one.
    pub(crate) fn end_session(&mut self, id: LeaseId) -> Result<(), Fault> {
        let Some(mut session) = SessionState::load(self.overlay, id)? else {
            return Ok(());
        };
        session.forget(self.overlay, self.meta, id, u64::MAX)?;
        self.overlay.delete(Table::Cluster, session_row(id));
        let owner = owner_row(id);
        if self.overlay.get(Table::Cluster, &owner)?.is_some() {
            self.overlay.delete(Table::Cluster, owner);
        }
        Ok(())
    }
}

impl Reader<'_> {
    /// Returns the user to whom the session of a lease belongs.
    ///
    /// # Errors
    /// When the engine cannot read, or the row does not decode.
    pub fn session_owner(&self, lease: LeaseId) -> Result<Option<Owner>, Fault> {
        Owner::find(self.view, Table::Cluster, &owner_row(lease))
    }

    /// Returns the state of the session of a lease; `None` if it has none.
    ///
    /// # Errors
    /// When the engine cannot read, or the row does not decode.
    pub fn session(&self, lease: LeaseId) -> Result<Option<SessionState>, Fault> {
        SessionState::load(self.view, lease)
    }
}

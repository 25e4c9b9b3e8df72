//! The requests of sessions. A session lives on a lease and numbers its requests.
//!
//! Invariant: everything up to a session's floor is forgotten and has no row; the floor never goes
//! down; what is above it and was executed has a row. Rows are counted, and their bytes.

use bytes::{BufMut, Bytes};

use crate::{
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

/// Outcomes that a session remembers. As many requests may be without an answer at once; more than
/// a client of this service keeps under way.
pub(super) const REMEMBERED_MAX: u32 = 1024;

/// Bytes that what a session remembers may take; beyond them outcomes are remembered in their short
/// form. A thousand usual outcomes take a tenth of it, and there may be thousands of sessions.
const SESSION_BYTES_MAX: u64 = 1024 * 1024;

/// What a session remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// How many outcomes.
    pub remembered: u32,
    /// Requests up to this one are forgotten.
    pub forgotten: u64,
    /// How much the outcomes take, in bytes.
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

/// The session of a row, if it is of one.
pub(super) fn read_session_row(row: &Bytes) -> Result<Option<LeaseId>, Fault> {
    Family::Session.rest(row).map(keys::read_lease).transpose()
}

fn request_row(id: LeaseId, sequence: u64) -> Bytes {
    let mut row = Family::Request.row(16);
    row.put_i64(keys::ordered(id));
    row.put_u64(sequence);
    row.freeze()
}

/// The session and the number of a request's row, if it is of one.
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

/// The rows of the requests `from..=through` of a session, with how much their outcomes take.
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

/// The number of the oldest request that a session remembers, from `from` on.
fn oldest(view: &dyn View, id: LeaseId, from: u64) -> Result<Option<u64>, Fault> {
    let mut cursor = view.scan(Table::Cluster, &request_row(id, from))?;
    let Some((row, _)) = cursor.next()? else {
        return Ok(None);
    };
    let found = read_request_row(&row)?.filter(|(session, _)| *session == id);
    Ok(found.map(|(_, sequence)| sequence))
}

/// How many bytes more a session may remember of all that sessions may: it has as many as are still
/// free, so a few alone leave room for the next.
fn share(view: &dyn View, meta: &Meta, session: &SessionState) -> Result<u64, Fault> {
    if meta.level < FeatureLevel::PRICED {
        return Ok(u64::MAX);
    }
    let remembered = Totals::load(view)?.sessions;
    let free = limit::SESSION_BYTES_MAX.saturating_sub(remembered);
    Ok(free.saturating_sub(session.bytes))
}

/// The row of a request, or `None` when it was not executed yet. Forgets what was answered. Refused
/// when sessions remember so much that even the short form of an outcome has no room.
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

/// Remembers a request that was not known, by the row that `encode` makes for the room there is.
/// Too many: the oldest is forgotten.
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
    /// Opens a session on a lease that it makes, or says that one is open. No other lease becomes
    /// one: clients may give leases ids that had sessions before, whose requests would be executed
    /// again.
    pub(crate) fn open_session(&mut self, open: SessionOpen) -> Result<Reply, ReadError> {
        let SessionOpen { lease: id, grant } = open;
        if let Some(ttl) = grant {
            self.grant_lease(LeaseGrant { id, ttl }, true)?;
        }
        let lease = lease::find(self.overlay, id)?.ok_or(Refusal::LeaseNotFound)?;
        if grant.is_some() {
            SessionState::default().save(self.overlay, id);
        } else if SessionState::load(self.overlay, id)?.is_none() {
            return Err(Refusal::SessionNotFound(id).into());
        }
        Ok(Reply::SessionOpen(id, lease.ttl))
    }

    /// The lease has ended: so has its session, if it had one.
    pub(crate) fn end_session(&mut self, id: LeaseId) -> Result<(), Fault> {
        let Some(mut session) = SessionState::load(self.overlay, id)? else {
            return Ok(());
        };
        session.forget(self.overlay, self.meta, id, u64::MAX)?;
        self.overlay.delete(Table::Cluster, session_row(id));
        Ok(())
    }
}

impl Reader<'_> {
    /// What the session of a lease remembers; `None` when it has none.
    ///
    /// # Errors
    /// When the engine cannot read, or the row does not decode.
    pub fn session(&self, lease: LeaseId) -> Result<Option<SessionState>, Fault> {
        SessionState::load(self.view, lease)
    }
}

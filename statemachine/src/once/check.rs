//! The invariants of the rows of sessions and idempotency keys, checked over a view.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    answer,
    key::KeysState,
    session::{REMEMBERED_MAX, SessionState, owner_row, read_request_row, read_session_row},
    share::{self, Share},
};
use crate::{
    access::stored_key::is_key_row,
    engine::{Table, View},
    error::Fault,
    lease,
    meta::Totals,
    rows::{Family, Row},
    timers::Timer,
    value::LeaseId,
};

/// The counted requests of a session.
#[derive(Default)]
struct Counted {
    requests: u32,
    bytes: u64,
    oldest: Option<u64>,
}

/// Checks that sessions are on leases, that their requests are above their floor, that requests and
/// keys and the bytes of their outcomes are counted, and that the outcomes decode.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    walk(view).map_err(|fault| fault.to_string())?
}

/// Checks that owners are of sessions.
fn check_owners(
    view: &dyn View,
    sessions: &[(LeaseId, SessionState)],
) -> Result<Result<(), String>, Fault> {
    let owned: BTreeSet<Bytes> = sessions.iter().map(|(id, _)| owner_row(*id)).collect();
    let mut owners = Family::SessionOwner.rows(view)?.into_iter();
    let stray = owners.find(|(row, _)| !owned.contains(row));
    Ok(match stray {
        None => Ok(()),
        Some((row, _)) => Err(format!("{row:?} is the owner of no session")),
    })
}

fn walk(view: &dyn View) -> Result<Result<(), String>, Fault> {
    let mut requests = BTreeMap::<LeaseId, Counted>::new();
    let mut sessions = Vec::new();
    let mut keys = KeysState::default();
    let (mut shares, mut found) = (BTreeMap::new(), BTreeMap::<u64, Share>::new());
    let mut cursor = view.scan(Table::Cluster, &[])?;
    while let Some((row, value)) = cursor.next()? {
        if is_key_row(&row) {
            keys.remembered = keys.remembered.saturating_add(1);
            keys.bytes = keys.bytes.saturating_add(value.len() as u64);
            answer::check(value)?;
        } else if let Some((session, sequence)) = read_request_row(&row)? {
            let counted = requests.entry(session).or_default();
            counted.requests = counted.requests.saturating_add(1);
            counted.bytes = counted.bytes.saturating_add(value.len() as u64);
            counted.oldest.get_or_insert(sequence);
            answer::check(value)?;
        } else if let Some(client) = share::read_row(&row)? {
            shares.insert(client, Share::decode(&value)?);
        } else if let Some((_, Timer::ForgetClientKey(client, key))) = Timer::parse(&row)? {
            let known = view.get(Table::Cluster, &key.row())?;
            let share = found.entry(client).or_default();
            share.keys = share.keys.saturating_add(1);
            let bytes = known.map_or(0, |known| known.len() as u64);
            share.bytes = share.bytes.saturating_add(bytes);
        } else if let Some(session) = read_session_row(&row)? {
            sessions.push((session, SessionState::decode(&value)?));
        }
    }
    let counted = KeysState::load(view)?;
    if counted != keys {
        return Ok(Err(format!(
            "{keys:?} of idempotency keys counted as {counted:?}"
        )));
    }
    if shares != found {
        return Ok(Err(format!(
            "{found:?} of clients' keys counted as {shares:?}"
        )));
    }
    let bytes = sessions.iter().map(|(_, state)| state.bytes);
    let (bytes, counted) = (bytes.sum::<u64>(), Totals::load(view)?.sessions);
    if counted > bytes {
        return Ok(Err(format!(
            "{bytes} bytes of sessions counted as {counted}"
        )));
    }
    if let Err(stray) = check_owners(view, &sessions)? {
        return Ok(Err(stray));
    }
    for (session, state) in sessions {
        let Some(lease) = lease::find(view, session)? else {
            return Ok(Err(format!("session {session} has no lease")));
        };
        if !lease.may_have.session {
            return Ok(Err(format!("lease {session} does not know its session")));
        }
        let counted = requests.remove(&session).unwrap_or_default();
        let floor_holds = counted.oldest.is_none_or(|oldest| oldest > state.forgotten);
        let is_counted = (counted.requests, counted.bytes) == (state.remembered, state.bytes);
        if !is_counted || state.remembered > REMEMBERED_MAX || !floor_holds {
            let (found, bytes) = (counted.requests, counted.bytes);
            return Ok(Err(format!(
                "session {session}: {state:?}, {found} of {bytes} bytes found"
            )));
        }
    }
    Ok(match requests.into_keys().next() {
        None => Ok(()),
        Some(session) => Err(format!("requests of {session}, which is no session")),
    })
}

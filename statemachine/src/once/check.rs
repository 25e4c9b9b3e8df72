//! What must hold of the rows of sessions and idempotency keys, checked over a view.

use std::collections::BTreeMap;

use super::{
    answer,
    key::{self, is_key_row},
    session::{REMEMBERED_MAX, SessionState, read_request_row, read_session_row},
};
use crate::{
    engine::{Table, View},
    error::Fault,
    lease,
    types::LeaseId,
};

/// What was counted of a session's requests.
#[derive(Default)]
struct Counted {
    requests: u32,
    oldest: Option<u64>,
}

/// Sessions live on leases and count their requests, all above their floor; keys are counted; every
/// outcome decodes.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    walk(view).map_err(|fault| fault.to_string())?
}

fn walk(view: &dyn View) -> Result<Result<(), String>, Fault> {
    let mut requests = BTreeMap::<LeaseId, Counted>::new();
    let mut sessions = Vec::new();
    let mut keys = 0_u64;
    let mut cursor = view.scan(Table::Cluster, &[])?;
    while let Some((row, value)) = cursor.next()? {
        if is_key_row(&row) {
            keys = keys.saturating_add(1);
            answer::read(value)?;
        } else if let Some((session, sequence)) = read_request_row(&row)? {
            let counted = requests.entry(session).or_default();
            counted.requests = counted.requests.saturating_add(1);
            counted.oldest.get_or_insert(sequence);
            answer::read(value)?;
        } else if let Some(session) = read_session_row(&row)? {
            sessions.push((session, SessionState::decode(&value)?));
        }
    }
    let counted = key::count(view)?;
    if counted != keys {
        return Ok(Err(format!("{keys} idempotency keys counted as {counted}")));
    }
    for (session, state) in sessions {
        if lease::find(view, session)?.is_none() {
            return Ok(Err(format!("session {session} has no lease")));
        }
        let counted = requests.remove(&session).unwrap_or_default();
        let floor_holds = counted.oldest.is_none_or(|oldest| oldest > state.forgotten);
        if counted.requests != state.remembered || state.remembered > REMEMBERED_MAX || !floor_holds
        {
            let found = counted.requests;
            return Ok(Err(format!("session {session}: {state:?}, {found} found")));
        }
    }
    Ok(match requests.into_keys().next() {
        None => Ok(()),
        Some(session) => Err(format!("requests of {session}, which is no session")),
    })
}

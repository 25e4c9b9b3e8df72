//! Exactly once: the outcomes of mutations with an id are remembered, and returned to repeats.
//!
//! Not a cache: a forgotten request is refused for as long as its session lives, never executed a
//! second time. Invariant: an outcome is in the same write as its effect, so that a repeat finds
//! both or neither.

mod answer;
mod check;
mod key;
mod kind;
mod session;
mod share;

pub(crate) use self::{answer::Asked, check::check, key::forget as forget_key};
pub use self::{key::SHARED_KEYS_MAX, session::SessionState};
use crate::{
    access::StoredKey,
    command::RequestId,
    error::{Fault, ReadError},
    meta::Meta,
    outcome::Outcome,
    rows::Overlay,
};

/// The result of looking up a request.
#[derive(Debug)]
pub(crate) enum Recalled {
    /// A new request, to be executed.
    New,
    /// It was executed before, with this outcome.
    Known(Box<Outcome>),
}

/// Looks up a request. Refused if it is forgotten, or if there is no room to remember it.
pub(crate) fn recall(
    overlay: &mut Overlay,
    meta: &Meta,
    asked: &Asked<'_>,
) -> Result<Recalled, ReadError> {
    let row = match asked.id() {
        RequestId::Session {
            session,
            sequence,
            answered,
        } => {
            session::check_owner(overlay, *session, asked.user())?;
            session::recall(overlay, meta, *session, (*sequence, *answered))?
        }
        RequestId::Key(key) => key::recall(overlay, (key, asked.user()), None)?,
        RequestId::ClientKey { client, key } => {
            key::recall(overlay, (key, asked.user()), Some(*client))?
        }
    };
    match row {
        None => Ok(Recalled::New),
        Some(row) => Ok(Recalled::Known(Box::new(answer::decode(row, asked)?))),
    }
}

/// Remembers the outcome of a request, if it is one to remember.
pub(crate) fn remember(
    overlay: &mut Overlay,
    meta: &Meta,
    asked: &Asked<'_>,
    outcome: &Outcome,
) -> Result<(), Fault> {
    match asked.id() {
        RequestId::Session {
            session, sequence, ..
        } => session::remember(overlay, meta, *session, *sequence, |room| {
            answer::encode(asked, outcome, room)
        }),
        RequestId::Key(key) => {
            let key = StoredKey::of(key, asked.user());
            key::remember(overlay, meta.now, key, None, |room| {
                answer::encode(asked, outcome, room)
            })
        }
        RequestId::ClientKey { client, key } => {
            let key = StoredKey::of(key, asked.user());
            key::remember(overlay, meta.now, key, Some(*client), |room| {
                answer::encode(asked, outcome, room)
            })
        }
    }
}

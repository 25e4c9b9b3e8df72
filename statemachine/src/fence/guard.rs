//! Guards: a command is refused unless the tokens that it names hold.

use bytes::Bytes;

use crate::{
    claims,
    command::Guard,
    error::{Fault, ReadError, Refusal, StaleToken},
    read::Reader,
    value::Revision,
};

/// Refuses unless every guard holds on the state that `reader` sees.
pub(crate) fn check(reader: &Reader<'_>, guards: &[Guard]) -> Result<(), ReadError> {
    for guard in guards {
        let holds = claims::holds(reader.view, &guard.name, guard.token)?
            || living(reader, &guard.name)? == Some(guard.token);
        if !holds {
            let stale = StaleToken {
                name: guard.name.clone(),
                yours: guard.token,
                current: current(reader, &guard.name)?,
            };
            return Err(Refusal::GuardStale(Box::new(stale)).into());
        }
    }
    Ok(())
}

/// Returns the create revision of the key `name`; `None` when there is no such key, or when it
/// stands for a claim that waits. If there are claims on a lock or an election of that name, only
/// their tokens count, because any client may put a key with that name.
fn living(reader: &Reader<'_>, name: &Bytes) -> Result<Option<Revision>, Fault> {
    let Some(record) = reader.latest(name)? else {
        return Ok(None);
    };
    let counts = match claims::behind(reader.view, name)? {
        Some((_, held)) => held,
        None => !claims::is_claimed(reader.view, name)?,
    };
    Ok(counts.then_some(record.create))
}

/// Returns the token that would hold instead; zero when none would.
fn current(reader: &Reader<'_>, name: &Bytes) -> Result<Revision, Fault> {
    if let Some(holder) = reader.holder(name)? {
        return Ok(holder.token);
    }
    Ok(living(reader, name)?.unwrap_or_default())
}

//! Guards: a command is refused unless what it says about tokens holds.

use bytes::Bytes;

use crate::{
    claims,
    command::Guard,
    error::{Fault, ReadError, Refusal, StaleToken},
    outcome::ClaimState,
    read::Reader,
    types::Revision,
};

/// Refused unless every guard holds on the state that `reader` sees.
pub(crate) fn check(reader: &Reader<'_>, guards: &[Guard]) -> Result<(), ReadError> {
    for guard in guards {
        let holds = is_held(reader, &guard.name, guard.token)?
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

/// Whether a claim on `name` holds under `token`.
pub(crate) fn is_held(reader: &Reader<'_>, name: &[u8], token: Revision) -> Result<bool, Fault> {
    let claim = reader.claim(name, token)?;
    Ok(claim.is_some_and(|claim| claim.held))
}

/// The claim that the key `key` stands for, if it stands for one.
pub(crate) fn claim_of(reader: &Reader<'_>, key: &Bytes) -> Result<Option<ClaimState>, Fault> {
    let Some(record) = reader.latest(key)? else {
        return Ok(None);
    };
    let lease = record.lease;
    if !claims::is_claim(&record.into_key_value(key.clone())) {
        return Ok(None);
    }
    let slash = key.iter().rposition(|byte| *byte == b'/');
    let name = slash.and_then(|at| key.get(..at)).unwrap_or_default();
    reader.claim_of(name, lease)
}

/// The create revision of the key `name`; `None` when there is no such key, or when it stands for a
/// claim that waits.
fn living(reader: &Reader<'_>, name: &Bytes) -> Result<Option<Revision>, Fault> {
    let Some(record) = reader.latest(name)? else {
        return Ok(None);
    };
    let waits = claim_of(reader, name)?.is_some_and(|claim| !claim.held);
    Ok((!waits).then_some(record.create))
}

/// The token that would do instead; zero when none would.
fn current(reader: &Reader<'_>, name: &Bytes) -> Result<Revision, Fault> {
    if let Some(holder) = reader.holder(name)? {
        return Ok(holder.token);
    }
    Ok(living(reader, name)?.unwrap_or_default())
}

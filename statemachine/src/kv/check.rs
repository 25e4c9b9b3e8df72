//! Whether a put can be made.

use crate::{
    command::Put,
    error::{ReadError, Refusal},
    lease,
    read::Reader,
};

/// Whether `put` can be made on the state that `reader` sees. The lease comes first, as in etcd.
pub(crate) fn check_put(reader: &Reader<'_>, put: &Put) -> Result<(), ReadError> {
    if put.lease.is_some() && reader.lease(put.lease)?.is_none() {
        return Err(Refusal::LeaseNotFound.into());
    }
    let needs_key = put.ignore_value || put.ignore_lease;
    if needs_key && reader.latest(&put.key)?.is_none() {
        return Err(Refusal::KeyNotFound.into());
    }
    check_room(reader, put)
}

/// Whether the lease that `put` names may have the key, which it may have already.
pub(super) fn check_room(reader: &Reader<'_>, put: &Put) -> Result<(), ReadError> {
    if !put.lease.is_some() {
        return Ok(());
    }
    let room = lease::check_room(reader.view, put.lease, 1);
    if room.is_ok() {
        return room;
    }
    let present = reader.latest(&put.key)?;
    match present.filter(|present| present.lease == put.lease) {
        Some(_) => Ok(()),
        None => room,
    }
}

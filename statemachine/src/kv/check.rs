//! Checks before a put.

use crate::{
    command::Put,
    error::{ReadError, Refusal},
    lease,
    read::Reader,
};

/// Checks that `put` can be made on the state that `reader` sees. The lease is checked first, as in
/// etcd.
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

/// Checks that the lease of `put` may have the key; it may have it already.
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

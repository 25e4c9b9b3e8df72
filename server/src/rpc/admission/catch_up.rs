//! A check that failed may have been made too early: the member applies later than others what was
//! acknowledged before, such as the permission that the caller has just been granted.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    node::Replica,
    rpc::answer::{failure::Failure, status::Reason},
};

/// Longest wait for what was acknowledged before: several elections. The check fails afterwards.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// Waits until this member has applied everything that was acknowledged before, so that the check
/// that failed can be repeated. Costs a refused call what a read costs.
///
/// # Errors
/// The failure, if another check would fail as well, or cannot be made.
///
/// # Cancel safety
/// Nothing is lost when the future is dropped.
pub(in crate::rpc) async fn catch_up(
    replica: &dyn Replica,
    failure: Failure,
) -> Result<(), Failure> {
    let may_change = matches!(
        failure.reason(),
        Reason::PermissionDenied
            | Reason::UserNotFound
            | Reason::InvalidAuthToken
            | Reason::AuthOldRevision
    );
    if !may_change {
        return Err(failure);
    }
    match timeout(CATCH_UP_MAX, replica.read_barrier()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(failure),
    }
}

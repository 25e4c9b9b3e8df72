//! Options shared by lock requests and campaigns: session, time limit, principal, listener.

use std::time::Duration;

use bytes::Bytes;

use super::{
    acquisition::{AcquireParams, Listener, StreamedClaimRequest, acquire},
    held::HeldClaims,
    session::{ClaimSession, SessionChoice},
};
use crate::{
    client::Client,
    duration::millis,
    error::{Error, ErrorKind},
    id::LeaseId,
};

/// Options of a request for a claim.
#[derive(Clone)]
pub(crate) struct ClaimOptions {
    pub(crate) client: Client,
    pub(crate) session: SessionChoice,
    /// No limit but the lifetime of the lease unless set.
    pub(crate) wait: Option<Duration>,
    pub(crate) principal: String,
    pub(crate) listener: Option<Listener>,
}

impl ClaimOptions {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            session: SessionChoice::default(),
            wait: None,
            principal: String::new(),
            listener: None,
        }
    }

    /// The time limit in the form of the wire, where zero means no limit.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a limit of zero; `instead` is appended to the text and
    /// says what to do.
    pub(crate) fn wait_ms(&self, instead: &str) -> Result<u64, Error> {
        if self.wait.is_some_and(|wait| wait.is_zero()) {
            let text = format!("a wait of no time at all{instead}");
            return Err(Error::local(ErrorKind::InvalidArgument, text));
        }
        Ok(self.wait.map_or(0, millis))
    }

    /// Acquires claims on `names`, in byte order, by the request that `request` makes for a lease.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the claims in the background.
    pub(crate) async fn acquire<R: StreamedClaimRequest>(
        self,
        names: Vec<Bytes>,
        request: impl FnOnce(LeaseId) -> R,
    ) -> Result<HeldClaims, Error> {
        let session = ClaimSession::open(&self.client, self.session).await?;
        let request = request(session.lease());
        let params = AcquireParams {
            names,
            wait: self.wait,
            listener: self.listener,
        };
        let claims = acquire(&self.client, &session, params, request).await?;
        Ok(HeldClaims::new(self.client, session, claims))
    }
}

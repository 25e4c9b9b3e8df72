//! What whoever asks for a lock or an election says, whichever of them it is: how it lives, for how
//! long it waits, who it is and who wants to know where it stands.

use std::time::Duration;

use bytes::Bytes;

use super::{
    hold::Hold,
    pursuit::{Listener, Pursuit, Terms, pursue},
    tenancy::{Lifetime, Tenancy},
};
use crate::{
    client::Client,
    error::{Error, ErrorKind},
    id::LeaseId,
    lease::millis,
};

/// What is the same for everybody who asks.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) client: Client,
    pub(crate) lifetime: Lifetime,
    /// For as long as the lease lives unless set.
    pub(crate) wait: Option<Duration>,
    pub(crate) principal: String,
    pub(crate) listener: Option<Listener>,
}

impl Asking {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            lifetime: Lifetime::default(),
            wait: None,
            principal: String::new(),
            listener: None,
        }
    }

    /// The wait as it travels.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a wait of no time, which would mean to wait forever;
    /// `instead` goes on with what to do.
    pub(crate) fn wait_ms(&self, instead: &str) -> Result<u64, Error> {
        if self.wait.is_some_and(|wait| wait.is_zero()) {
            let text = format!("a wait of no time at all{instead}");
            return Err(Error::local(ErrorKind::InvalidArgument, text));
        }
        Ok(self.wait.map_or(0, millis))
    }

    /// Waits for `names`, in byte order, to be granted to the request that is made with a lease.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the claim in the background.
    pub(crate) async fn obtain<P: Pursuit>(
        self,
        names: Vec<Bytes>,
        request: impl FnOnce(LeaseId) -> P,
    ) -> Result<Hold, Error> {
        let tenancy = Tenancy::open(&self.client, self.lifetime).await?;
        let request = request(tenancy.session().lease());
        let terms = Terms {
            names,
            wait: self.wait,
            listener: self.listener,
        };
        let claims = pursue(&self.client, &tenancy, terms, request).await?;
        Ok(Hold::new(self.client, tenancy, claims))
    }
}

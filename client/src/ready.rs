//! Waiting until the cluster can be used: an endpoint answers, and its server knows a leader.
//!
//! Apart from the client itself, which makes no calls.

use std::time::Duration;

use tenure_proto::etcdserverpb::{
    StatusRequest, StatusResponse, maintenance_client::MaintenanceClient,
};
use tokio::time::{Instant, sleep};

use crate::{
    call::{Call, ask},
    client::Client,
    error::{Error, ErrorKind},
};

/// How long [`Client::ready`] waits before it asks again who leads: a part of an election.
const LEADER_PAUSE: Duration = Duration::from_millis(100);

impl Client {
    /// Dials, and waits until an endpoint answers and its server knows a leader; at most for the
    /// deadline of calls.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tenure::Error> {
    /// let client = tenure::Client::connect("10.0.0.1").await?;
    /// client.ready().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Connect`](ErrorKind::Connect) when no endpoint can be reached, which names all that were
    /// tried, [`Unavailable`](ErrorKind::Unavailable) when no leader is known until time is up, and
    /// whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind but connections.
    pub async fn ready(&self) -> Result<(), Error> {
        let deadline = self.deadline(None);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let status = self.with_timeout(left).server_status().await?;
            if status.leader != 0 {
                return Ok(());
            }
            if Instant::now() + LEADER_PAUSE >= deadline {
                let text = "the cluster has no leader: check that a majority of its members runs";
                return Err(Error::local(ErrorKind::Unavailable, text));
            }
            self.move_on();
            sleep(LEADER_PAUSE).await;
        }
    }

    async fn server_status(&self) -> Result<StatusResponse, Error> {
        let call = Call::read(None);
        ask!(self, call, MaintenanceClient.status(StatusRequest {})).await
    }
}

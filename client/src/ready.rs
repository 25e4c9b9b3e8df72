//! Readiness check: waits until an endpoint responds and its server knows a leader.
//!
//! A module of its own, because the client itself makes no calls.

use std::time::Duration;

use tenure_proto::etcdserverpb::{
    StatusRequest, StatusResponse, maintenance_client::MaintenanceClient,
};
use tokio::time::{Instant, sleep};

use crate::{
    call::{Call, rpc},
    client::Client,
    error::{Error, ErrorKind},
};

/// Poll interval of [`Client::ready`]: a fraction of an election.
const LEADER_PAUSE: Duration = Duration::from_millis(100);

impl Client {
    /// Connects and waits until an endpoint responds and its server knows a leader, at most for the
    /// timeout of calls.
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
    /// tried, [`Unavailable`](ErrorKind::Unavailable) when no leader is known before the timeout,
    /// and the errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: open connections are kept.
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
        rpc!(self, call, MaintenanceClient.status(StatusRequest {})).await
    }
}

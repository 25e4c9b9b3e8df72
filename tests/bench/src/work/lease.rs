//! Leases: granted, renewed, revoked.

use std::time::Instant;

use tenure_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest,
    lease_client::LeaseClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{Step, Work, broken};

/// Seconds a lease lives: longer than any run, so that none expires under the load.
const TTL_SECONDS: i64 = 24 * 60 * 60;

/// A client of the lease service and the leases it holds.
#[derive(Debug)]
struct Leases {
    service: LeaseClient<Channel>,
    held: Vec<i64>,
}

impl Leases {
    fn new(channel: Channel) -> Self {
        Self {
            service: LeaseClient::new(channel),
            held: Vec::new(),
        }
    }

    async fn grant(&mut self) -> Result<i64, Status> {
        let request = LeaseGrantRequest {
            ttl: TTL_SECONDS,
            id: 0,
        };
        let granted = self.service.lease_grant(request).await?.into_inner();
        if granted.id == 0 || !granted.error.is_empty() {
            return Err(broken(format!(
                "a lease was not granted: {}",
                granted.error
            )));
        }
        self.held.push(granted.id);
        Ok(granted.id)
    }

    /// Revokes one lease; false when none is held.
    async fn revoke(&mut self) -> Result<bool, Status> {
        let Some(id) = self.held.pop() else {
            return Ok(false);
        };
        self.service.lease_revoke(LeaseRevokeRequest { id }).await?;
        Ok(true)
    }

    async fn revoke_all(&mut self) -> Result<(), Status> {
        while self.revoke().await? {}
        Ok(())
    }
}

/// Grants leases, and revokes them when the round is over.
#[derive(Debug)]
pub(crate) struct Granter(Leases);

impl Granter {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(Leases::new(channel))
    }
}

impl Work for Granter {
    async fn step(&mut self) -> Result<Step, Status> {
        self.0.grant().await?;
        Ok(Step::Done)
    }

    async fn finish(&mut self) -> Result<(), Status> {
        self.0.revoke_all().await
    }
}

/// Revokes leases that were granted before the round.
#[derive(Debug)]
pub(crate) struct Revoker(Leases);

impl Revoker {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(Leases::new(channel))
    }
}

impl Work for Revoker {
    async fn prepare(&mut self, until: Instant) -> Result<(), Status> {
        while Instant::now() < until {
            self.0.grant().await?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<Step, Status> {
        Ok(if self.0.revoke().await? {
            Step::Done
        } else {
            Step::Exhausted
        })
    }

    async fn finish(&mut self) -> Result<(), Status> {
        self.0.revoke_all().await
    }
}

/// Renews one lease on one stream, a renewal at a time.
#[derive(Debug)]
pub(crate) struct Renewer {
    leases: Leases,
    stream: Option<Renewals>,
}

#[derive(Debug)]
struct Renewals {
    id: i64,
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    answers: Streaming<LeaseKeepAliveResponse>,
}

impl Renewer {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            leases: Leases::new(channel),
            stream: None,
        }
    }
}

impl Renewals {
    async fn renew(&mut self) -> Result<(), Status> {
        let request = LeaseKeepAliveRequest { id: self.id };
        self.requests
            .send(request)
            .await
            .map_err(|_| broken("a renewal stream ended"))?;
        match self.answers.message().await? {
            Some(answer) if answer.id == self.id && answer.ttl > 0 => Ok(()),
            Some(answer) => Err(broken(format!("a renewal came back as {answer:?}"))),
            None => Err(broken("a renewal stream ended")),
        }
    }
}

impl Work for Renewer {
    async fn prepare(&mut self, _until: Instant) -> Result<(), Status> {
        let id = self.leases.grant().await?;
        // One renewal is on its way at a time.
        let (requests, waiting) = mpsc::channel(1);
        // A server may hold its answer back until it has something to say.
        requests
            .try_send(LeaseKeepAliveRequest { id })
            .map_err(|_| broken("a new channel has no room"))?;
        let opened = self
            .leases
            .service
            .lease_keep_alive(ReceiverStream::new(waiting))
            .await?;
        let mut answers = opened.into_inner();
        answers.message().await?;
        self.stream = Some(Renewals {
            id,
            requests,
            answers,
        });
        Ok(())
    }

    async fn step(&mut self) -> Result<Step, Status> {
        let stream = self
            .stream
            .as_mut()
            .ok_or_else(|| broken("no stream was opened"))?;
        stream.renew().await?;
        Ok(Step::Done)
    }

    async fn finish(&mut self) -> Result<(), Status> {
        self.stream = None;
        self.leases.revoke_all().await
    }
}

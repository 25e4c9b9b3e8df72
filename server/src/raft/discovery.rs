//! Discovery of the members by a process that is not a member yet, or by a member that does not
//! know another: a call that any process may make on the peer port.

use std::{sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use openraft::async_runtime::watch::WatchReceiver;
use tenure_proto::peer::{self, discovery_client::DiscoveryClient, discovery_server};
use tonic::{
    Request, Response, Status,
    transport::{Endpoint, Uri},
};
use tower::service_fn;

use super::Raft;
use crate::{
    consensus::{Membership, convert},
    transport::Transport,
};

/// Time limit for an answer. etcd waits as long for the same.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What a member answered.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// The id of its cluster.
    pub cluster_id: u64,
    /// The membership as it knows it.
    pub membership: Membership,
    /// The index of that in the log: the greatest is the newest.
    pub index: u64,
}

/// Asks the member at `url`.
///
/// # Errors
/// When it does not answer, or with something else, as text.
pub async fn discover(transport: &Arc<dyn Transport>, url: &str) -> Result<Discovered, String> {
    let (transport, url) = (Arc::clone(transport), url.to_owned());
    let connector = service_fn(move |_: Uri| {
        let connecting = transport.connect(url.clone());
        async move { connecting.await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://peer.invalid").timeout(ANSWER_MAX);
    let channel = endpoint.connect_with_connector(connector).await;
    let channel = channel.map_err(|error| crate::fatal::chain(&error))?;
    let mut client = DiscoveryClient::new(channel);
    let answer = client.members(peer::MembersRequest {}).await;
    let answer = answer.map_err(|status| status.message().to_owned())?;
    let answer = answer.into_inner();
    let membership = answer.membership.unwrap_or_default();
    if membership.configs.is_empty() {
        return Err("it has not formed a cluster yet".to_owned());
    }
    Ok(Discovered {
        cluster_id: answer.cluster_id,
        index: answer.membership_index,
        membership: convert::membership_from(membership).map_err(|error| error.to_string())?,
    })
}

/// Answers with what this node knows.
#[derive(Clone)]
pub struct DiscoveryService {
    raft: Raft,
    cluster_id: u64,
}

impl std::fmt::Debug for DiscoveryService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiscoveryService").finish_non_exhaustive()
    }
}

impl DiscoveryService {
    /// The gRPC server.
    #[must_use]
    pub fn server(raft: Raft, cluster_id: u64) -> discovery_server::DiscoveryServer<Self> {
        discovery_server::DiscoveryServer::new(Self { raft, cluster_id })
    }
}

#[tonic::async_trait]
impl discovery_server::Discovery for DiscoveryService {
    async fn members(
        &self,
        _: Request<peer::MembersRequest>,
    ) -> Result<Response<peer::MembersResponse>, Status> {
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        Ok(Response::new(peer::MembersResponse {
            cluster_id: self.cluster_id,
            membership_index: membership.log_id().map_or(0, |id| id.index),
            membership: Some(convert::membership_to(membership.membership())),
        }))
    }
}

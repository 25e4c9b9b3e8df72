//! Starts consensus and its monitors: the end of its core, the leader, the progress of the disk.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::MemberId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Environment, NodeConfig, StartError, events::Events, raft_config::raft_config};
use crate::{
    node::{
        abdication::Abdication,
        confirmed::Confirmed,
        core_watch,
        leadership::{self, Contact},
        status::Leadership,
    },
    raft::{Machine, Network, Peers, Raft},
    storage::{LogBacklog, LogStore},
};

/// Running consensus and its monitors.
pub(super) struct Core {
    pub(super) raft: Raft,
    pub(super) own: MemberId,
    pub(super) contact: Arc<Contact>,
    pub(super) confirmed: Arc<Confirmed>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) backlog: Arc<LogBacklog>,
    pub(super) stopping: CancellationToken,
}

impl Core {
    pub(super) async fn start(
        config: &NodeConfig,
        environment: &Environment,
        events: &Events,
        log: LogStore,
        peers: &Arc<Peers>,
        machine: Machine,
    ) -> Result<Self, StartError> {
        let own = config.identity.member_id;
        let backlog = log.backlog();
        let late = environment.metrics.server.heartbeat_send_failures.clone();
        let network = Network::new(
            Arc::clone(peers),
            late,
            machine.newest(),
            machine.refusals(),
        );
        let raft_config = Arc::new(raft_config(config));
        let lease = Duration::from_millis(raft_config.election_timeout_max);
        let raft = Raft::build(own.0, raft_config, network, log, machine)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;
        let stopping = CancellationToken::new();
        core_watch::spawn(raft.clone(), stopping.clone());
        let contact = Arc::new(Contact::new(Arc::clone(&environment.clock)));
        let confirmed = Arc::<Confirmed>::default();
        let leadership = leadership::spawn(leadership::Parts {
            raft: raft.clone(),
            own,
            contact: Arc::clone(&contact),
            confirmed: Arc::clone(&confirmed),
            lease,
            cluster_clock: Arc::clone(&events.clock),
            abdication: Abdication::new(Arc::clone(&backlog), config.election_timeout),
            silence_max: config.election_timeout * 2,
            interval: config.heartbeat_interval,
        });
        Ok(Self {
            raft,
            own,
            contact,
            confirmed,
            leadership,
            backlog,
            stopping,
        })
    }
}

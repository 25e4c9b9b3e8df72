//! Changes of the membership on any member: made here while this node leads, and otherwise by the
//! leader, over a call of the peer protocol.

use std::{sync::Arc, time::Duration};

use tenure_proto::peer::{self, change_members_request::Change, change_members_response::Outcome};
use tenure_statemachine::MemberId;
use tokio::{sync::watch, time::sleep};
use tracing::debug;

use super::{
    cluster_clock::ClusterClock,
    membership::Directory,
    reconfiguration::{ChangeError, Changed, MemberChange, Reconfiguration, Refusal},
    status::Leadership,
};
use crate::{
    consensus::convert,
    raft::{Lane, Peers, is_unknown_call},
};

/// Pause before another leader is asked, while there is none or it changes.
const PAUSE: Duration = Duration::from_millis(50);
const MILLIS_PER_SECOND: u64 = 1000;

/// Makes changes of the membership. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct MemberCalls {
    pub(super) changes: Reconfiguration,
    pub(super) own: MemberId,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) peers: Arc<Peers>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) clock: Arc<ClusterClock>,
}

impl MemberCalls {
    /// Makes a change, by whichever member leads. The caller bounds the time.
    pub(super) async fn change(&self, change: MemberChange) -> Result<Changed, ChangeError> {
        loop {
            let leader = self.leadership.borrow().leader;
            let made = match leader {
                Some(leader) if leader == self.own => self.lead(change.clone()).await,
                Some(leader) => self.ask(leader, &change).await,
                None => Err(ChangeError::NotLeader),
            };
            match made {
                Err(ChangeError::NotLeader) => sleep(PAUSE).await,
                made => return made,
            }
        }
    }

    async fn lead(&self, change: MemberChange) -> Result<Changed, ChangeError> {
        let seconds = self.clock.now().0 / MILLIS_PER_SECOND;
        self.changes.change(change, seconds).await
    }

    async fn ask(&self, leader: MemberId, change: &MemberChange) -> Result<Changed, ChangeError> {
        let Some(node) = self.directory.node(leader) else {
            return Err(ChangeError::NotLeader);
        };
        let mut client = self.peers.client(leader, &node, Lane::Forward);
        match client.change_members(request(change)).await {
            Ok(response) => read(response.into_inner()),
            Err(status) if is_unknown_call(&status) => Err(Refusal::OldMembers.into()),
            Err(status) => {
                debug!(%status, "the leader did not answer a change of the membership");
                Err(ChangeError::Lost)
            }
        }
    }

    /// Makes a change that another member forwarded, if this node leads.
    pub(super) async fn forwarded(
        &self,
        request: peer::ChangeMembersRequest,
    ) -> peer::ChangeMembersResponse {
        let made = match asked(request) {
            Some(change) if self.leadership.borrow().is_leader => self.lead(change).await,
            Some(_) | None => Err(ChangeError::NotLeader),
        };
        response(made)
    }
}

fn request(change: &MemberChange) -> peer::ChangeMembersRequest {
    let change = match change.clone() {
        MemberChange::Add {
            peer_urls,
            stays_learner,
        } => Change::Add(peer::AddMember {
            peer_urls,
            is_learner: stays_learner,
        }),
        MemberChange::Remove(id) => Change::Remove(id.0),
        MemberChange::Promote(id) => Change::Promote(id.0),
        MemberChange::Update { id, peer_urls } => Change::Update(peer::UpdateMember {
            id: id.0,
            peer_urls,
        }),
    };
    peer::ChangeMembersRequest {
        change: Some(change),
    }
}

fn asked(request: peer::ChangeMembersRequest) -> Option<MemberChange> {
    Some(match request.change? {
        Change::Add(add) => MemberChange::Add {
            peer_urls: add.peer_urls,
            stays_learner: add.is_learner,
        },
        Change::Remove(id) => MemberChange::Remove(MemberId(id)),
        Change::Promote(id) => MemberChange::Promote(MemberId(id)),
        Change::Update(update) => MemberChange::Update {
            id: MemberId(update.id),
            peer_urls: update.peer_urls,
        },
    })
}

fn response(made: Result<Changed, ChangeError>) -> peer::ChangeMembersResponse {
    let (outcome, changed) = match made {
        Ok(changed) => (Outcome::Done, Some(changed)),
        Err(ChangeError::Refused(refusal)) => (refused(refusal), None),
        Err(ChangeError::NotLeader) => (Outcome::NotLeader, None),
        Err(ChangeError::Lost) => (Outcome::Lost, None),
        Err(ChangeError::TimedOut) => (Outcome::TimedOut, None),
    };
    let mut response = peer::ChangeMembersResponse::default();
    response.set_outcome(outcome);
    if let Some(changed) = changed {
        response.added = changed.added.unwrap_or_default().0;
        response.membership = Some(convert::membership_to(&changed.membership));
    }
    response
}

const fn refused(refusal: Refusal) -> Outcome {
    match refusal {
        Refusal::NotFound => Outcome::NotFound,
        Refusal::IdExists => Outcome::IdExists,
        Refusal::UrlsExist => Outcome::UrlsExist,
        Refusal::TooManyLearners => Outcome::TooManyLearners,
        Refusal::NotALearner => Outcome::NotALearner,
        Refusal::NotInSync => Outcome::NotInSync,
        Refusal::NotEnoughStarted => Outcome::NotEnoughStarted,
        Refusal::Unhealthy => Outcome::Unhealthy,
        Refusal::OldMembers => Outcome::OldMembers,
    }
}

fn read(response: peer::ChangeMembersResponse) -> Result<Changed, ChangeError> {
    let refused = match response.outcome() {
        Outcome::Done => {
            let membership = response.membership.unwrap_or_default();
            // The change was made, so an answer that makes no sense leaves nothing to retry.
            let membership = convert::membership_from(membership).map_err(|_| ChangeError::Lost)?;
            let added = (response.added != 0).then_some(MemberId(response.added));
            return Ok(Changed { added, membership });
        }
        Outcome::NotLeader => return Err(ChangeError::NotLeader),
        Outcome::Lost => return Err(ChangeError::Lost),
        Outcome::TimedOut => return Err(ChangeError::TimedOut),
        Outcome::NotFound => Refusal::NotFound,
        Outcome::IdExists => Refusal::IdExists,
        Outcome::UrlsExist => Refusal::UrlsExist,
        Outcome::TooManyLearners => Refusal::TooManyLearners,
        Outcome::NotALearner => Refusal::NotALearner,
        Outcome::NotInSync => Refusal::NotInSync,
        Outcome::NotEnoughStarted => Refusal::NotEnoughStarted,
        Outcome::Unhealthy => Refusal::Unhealthy,
        Outcome::OldMembers => Refusal::OldMembers,
    };
    Err(refused.into())
}

//! Whether a change of the membership is allowed: pure arithmetic on what the leader knows.
//!
//! etcd's rules and order of checks (`--strict-reconfig-check`), except that a member that is to
//! become a voter counts as one from the beginning, although it gets its vote only once it has
//! caught up: an operator plans with what was asked for.

use std::collections::BTreeSet;

use super::{MemberChange, ReconfigurationRules, Refusal};
use crate::consensus::PeerNode;

/// Part of the leader's log, in percent, that a learner must hold to be promoted. etcd's value.
const IN_SYNC_PERCENT: u64 = 90;

/// A member as the leader knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: u64,
    pub(super) node: PeerNode,
    pub(super) is_voter: bool,
    /// Whether it has published its name.
    pub(super) is_started: bool,
    /// Whether it answered the leader lately.
    pub(super) is_connected: bool,
    /// The last entry that it holds; `None` while it has not answered.
    pub(super) matching: Option<u64>,
}

impl Known {
    /// Whether it is a learner to clients.
    const fn is_learner(&self) -> bool {
        !self.is_voter && self.node.stays_learner
    }
}

/// What the leader knows of the members.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) members: Vec<Known>,
    pub(super) removed: BTreeSet<u64>,
    /// The last entry of the leader's log.
    pub(super) last: u64,
    pub(super) rules: ReconfigurationRules,
}

impl View {
    /// Members that are voters, or are to become voters.
    fn voters(&self) -> impl Iterator<Item = &Known> {
        self.members.iter().filter(|member| !member.is_learner())
    }

    fn started(&self) -> usize {
        self.voters().filter(|member| member.is_started).count()
    }

    fn connected(&self) -> usize {
        self.voters().filter(|member| member.is_connected).count()
    }

    pub(super) fn find(&self, id: u64) -> Option<&Known> {
        self.members.iter().find(|member| member.id == id)
    }

    fn owns_one_of(&self, urls: &[String], except: Option<u64>) -> bool {
        let others = self.members.iter().filter(|it| Some(it.id) != except);
        others
            .flat_map(|member| &member.node.peer_urls)
            .any(|url| urls.contains(url))
    }

    /// Checks a change. The id of an added member is `added`.
    pub(super) fn check(&self, change: &MemberChange, added: u64) -> Result<(), Refusal> {
        match change {
            MemberChange::Add {
                peer_urls,
                stays_learner,
            } => {
                self.check_health_to_add(*stays_learner)?;
                self.check_added(peer_urls, *stays_learner, added)
            }
            MemberChange::Remove(id) => self.check_remove(id.0),
            MemberChange::Promote(id) => self.check_promote(id.0),
            MemberChange::Update { id, peer_urls } => match self.find(id.0) {
                None => Err(Refusal::NotFound),
                Some(_) if self.owns_one_of(peer_urls, Some(id.0)) => Err(Refusal::UrlsExist),
                Some(_) => Ok(()),
            },
        }
    }

    fn check_health_to_add(&self, stays_learner: bool) -> Result<(), Refusal> {
        if !self.rules.strict {
            return Ok(());
        }
        let (voters, started) = (self.voters().count(), self.started());
        let enough = started >= quorum(voters + 1) || (started == 1 && voters == 1);
        if !stays_learner && !enough {
            return Err(Refusal::NotEnoughStarted);
        }
        if voters > 1 && self.connected() < quorum(voters + 1) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    fn check_added(
        &self,
        peer_urls: &[String],
        stays_learner: bool,
        added: u64,
    ) -> Result<(), Refusal> {
        if self.removed.contains(&added) {
            return Err(Refusal::NotFound);
        }
        if self.find(added).is_some() {
            return Err(Refusal::IdExists);
        }
        if self.owns_one_of(peer_urls, None) {
            return Err(Refusal::UrlsExist);
        }
        let learners = self.members.iter().filter(|member| member.is_learner());
        if stays_learner && learners.count() >= self.rules.learners_max {
            return Err(Refusal::TooManyLearners);
        }
        Ok(())
    }

    fn check_remove(&self, id: u64) -> Result<(), Refusal> {
        let target = self.find(id).ok_or(Refusal::NotFound)?;
        if !self.rules.strict || target.is_learner() {
            return Ok(());
        }
        let left = self.voters().count() - 1;
        if self.started() - usize::from(target.is_started) < quorum(left) {
            return Err(Refusal::NotEnoughStarted);
        }
        if target.is_connected && self.connected() - 1 < quorum(left) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    fn check_promote(&self, id: u64) -> Result<(), Refusal> {
        let target = self.find(id).ok_or(Refusal::NotFound)?;
        if !target.is_learner() {
            return Err(Refusal::NotALearner);
        }
        let holds = target.matching.unwrap_or_default();
        let needed = self.last / 100 * IN_SYNC_PERCENT + self.last % 100 * IN_SYNC_PERCENT / 100;
        if target.matching.is_none() || holds < needed {
            return Err(Refusal::NotInSync);
        }
        if self.rules.strict && self.started() + 1 < quorum(self.voters().count() + 1) {
            return Err(Refusal::NotEnoughStarted);
        }
        Ok(())
    }

    /// Whether a quorum would be connected with one voter more, which is connected.
    pub(super) fn allows_one_more_voter(&self) -> bool {
        let voters = || self.members.iter().filter(|member| member.is_voter);
        let connected = voters().filter(|member| member.is_connected).count();
        connected + 1 >= quorum(voters().count() + 1)
    }
}

const fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use tenure_statemachine::MemberId;

    use super::*;

    /// Members 1 to `voters`, of which the last `down` do not answer, all started.
    fn view(voters: u64, down: u64) -> View {
        let known = |id| Known {
            id,
            node: PeerNode {
                peer_urls: vec![url(id)],
                ..PeerNode::default()
            },
            is_voter: true,
            is_started: true,
            is_connected: id <= voters - down,
            matching: Some(100),
        };
        View {
            members: (1..=voters).map(known).collect(),
            removed: BTreeSet::from([99]),
            last: 100,
            rules: ReconfigurationRules {
                strict: true,
                learners_max: 1,
            },
        }
    }

    fn url(id: u64) -> String {
        format!("http://10.0.0.{id}:2380")
    }

    fn add(id: u64, stays_learner: bool) -> MemberChange {
        MemberChange::Add {
            peer_urls: vec![url(id)],
            stays_learner,
        }
    }

    fn learner(view: &mut View, id: u64, matching: Option<u64>) {
        let mut known = view.members[0].clone();
        known.id = id;
        known.node.peer_urls = vec![url(id)];
        known.node.stays_learner = true;
        known.is_voter = false;
        known.matching = matching;
        view.members.push(known);
    }

    #[test]
    fn members_are_added_while_a_quorum_of_the_larger_cluster_answers() {
        for (voters, down, voter, as_learner) in [
            (1, 0, Ok(()), Ok(())),
            (3, 0, Ok(()), Ok(())),
            (3, 1, Err(Refusal::Unhealthy), Err(Refusal::Unhealthy)),
            (4, 1, Ok(()), Ok(())),
            (5, 1, Ok(()), Ok(())),
            (5, 2, Err(Refusal::Unhealthy), Err(Refusal::Unhealthy)),
        ] {
            let view = view(voters, down);
            assert_eq!(view.check(&add(9, false), 9), voter, "{voters} {down}");
            assert_eq!(view.check(&add(9, true), 9), as_learner, "{voters} {down}");
        }
        let mut lax = view(3, 1);
        lax.rules.strict = false;
        assert_eq!(lax.check(&add(9, false), 9), Ok(()));
    }

    #[test]
    fn a_second_member_that_has_not_started_counts_as_a_voter() {
        let mut view = view(1, 0);
        let mut joining = view.members[0].clone();
        (joining.id, joining.is_voter, joining.is_started) = (2, false, false);
        joining.node.peer_urls = vec![url(2)];
        joining.is_connected = false;
        view.members.push(joining);
        assert_eq!(
            view.check(&add(3, false), 3),
            Err(Refusal::NotEnoughStarted)
        );
        assert_eq!(view.check(&MemberChange::Remove(MemberId(2)), 0), Ok(()));
        let lead = MemberChange::Remove(MemberId(1));
        assert_eq!(view.check(&lead, 0), Err(Refusal::NotEnoughStarted));
        let promote = MemberChange::Promote(MemberId(2));
        assert_eq!(view.check(&promote, 0), Err(Refusal::NotALearner));
    }

    #[test]
    fn an_added_member_has_an_id_and_addresses_of_its_own() {
        let mut view = view(3, 0);
        assert_eq!(view.check(&add(9, false), 99), Err(Refusal::NotFound));
        assert_eq!(view.check(&add(9, false), 2), Err(Refusal::IdExists));
        assert_eq!(view.check(&add(2, false), 9), Err(Refusal::UrlsExist));
        learner(&mut view, 4, None);
        assert_eq!(view.check(&add(9, true), 9), Err(Refusal::TooManyLearners));
        assert_eq!(view.check(&add(9, false), 9), Ok(()));
        let update = |id, to| MemberChange::Update {
            id: MemberId(id),
            peer_urls: vec![url(to)],
        };
        assert_eq!(view.check(&update(2, 2), 0), Ok(()));
        assert_eq!(view.check(&update(2, 3), 0), Err(Refusal::UrlsExist));
        assert_eq!(view.check(&update(7, 7), 0), Err(Refusal::NotFound));
    }

    #[test]
    fn members_are_removed_while_a_quorum_of_the_rest_answers() {
        let remove = |id| MemberChange::Remove(MemberId(id));
        assert_eq!(
            view(1, 0).check(&remove(1), 0),
            Err(Refusal::NotEnoughStarted)
        );
        assert_eq!(view(3, 0).check(&remove(1), 0), Ok(()));
        assert_eq!(view(3, 1).check(&remove(3), 0), Ok(()));
        assert_eq!(view(3, 1).check(&remove(1), 0), Err(Refusal::Unhealthy));
        assert_eq!(view(3, 0).check(&remove(7), 0), Err(Refusal::NotFound));
        let mut with = view(1, 0);
        learner(&mut with, 2, None);
        assert_eq!(with.check(&remove(2), 0), Ok(()));
    }

    #[test]
    fn a_learner_is_promoted_when_it_holds_nine_tenths_of_the_log() {
        let promote = MemberChange::Promote(MemberId(4));
        assert_eq!(view(3, 0).check(&promote, 0), Err(Refusal::NotFound));
        for (matching, expected) in [
            (None, Err(Refusal::NotInSync)),
            (Some(89), Err(Refusal::NotInSync)),
            (Some(90), Ok(())),
        ] {
            let mut view = view(3, 0);
            learner(&mut view, 4, matching);
            assert_eq!(view.check(&promote, 0), expected, "{matching:?}");
        }
        assert!(view(3, 1).allows_one_more_voter());
        assert!(!view(3, 2).allows_one_more_voter());
    }
}

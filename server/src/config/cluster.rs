//! The members that are configured for the first start, and the check that they are consistent.
//!
//! Only a member with an empty data directory uses them: afterwards the replicated membership
//! applies, and these settings may become outdated, as in etcd.

use std::collections::BTreeMap;

use tenure_statemachine::MemberId;
use thiserror::Error;

use super::{
    fault::{ConfigErrors, ConfigFault, Origin},
    identity::{self, ClusterId},
    settings::{ClusterState, Config, SrvDiscovery},
    url::{Url, UrlFault},
};

/// A member listed in `initial-cluster`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialMember {
    /// Name of the member.
    pub name: String,
    /// Peer URLs of the member, sorted.
    pub peer_urls: Vec<Url>,
}

/// The action of a member that starts without data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstStart {
    /// Forms a cluster with members that have the same settings.
    Form {
        /// The id of this member.
        member_id: MemberId,
        /// The id of the cluster.
        cluster_id: ClusterId,
        /// All members with their ids, including this one, sorted by id.
        members: Vec<(MemberId, InitialMember)>,
    },
    /// Joins a cluster that has its peer URLs already and provides the ids.
    Join(Joining),
}

/// How a member finds the cluster that it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joining {
    /// All members are listed, including this one. The others are asked, and must agree.
    Listed(Vec<InitialMember>),
    /// Some members are known, which tell the others.
    Told {
        /// Their peer URLs.
        peers: Vec<Url>,
        /// The peer URLs with which this member was added.
        own: Vec<Url>,
    },
}

/// Causes for which `initial-cluster` does not parse.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum InitialClusterFault {
    /// A part is not of the form NAME=URL.
    #[error("{0:?} must be written NAME=URL")]
    Pair(String),
    /// An address is malformed.
    #[error(transparent)]
    Url(#[from] UrlFault),
}

/// Parses `name=URL` pairs; a member with several addresses is listed once for each.
pub(super) fn parse(text: &str) -> Result<Vec<InitialMember>, InitialClusterFault> {
    let mut members: BTreeMap<&str, Vec<Url>> = BTreeMap::new();
    for pair in text.split(',') {
        let (name, url) = pair
            .trim()
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| InitialClusterFault::Pair(pair.to_owned()))?;
        members.entry(name).or_default().push(Url::parse(url)?);
    }
    let sorted = |(name, mut peer_urls): (&str, Vec<Url>)| {
        peer_urls.sort_unstable_by_key(ToString::to_string);
        InitialMember {
            name: name.to_owned(),
            peer_urls,
        }
    };
    Ok(members.into_iter().map(sorted).collect())
}

impl Config {
    /// The same, with these members for the first start, which were discovered.
    #[must_use]
    pub fn with_members(&self, members: Vec<InitialMember>) -> Self {
        Self {
            initial_cluster: members,
            ..self.clone()
        }
    }

    /// The same, with these peer URLs, which were discovered by a start with data.
    #[must_use]
    pub fn with_discovered_peers(&self, peers: Vec<Url>) -> Self {
        let discovery = self.discovery.clone();
        Self {
            discovery: discovery.map(|discovery| SrvDiscovery { peers, ..discovery }),
            ..self.clone()
        }
    }

    /// The action for a first start.
    ///
    /// # Errors
    /// Every contradiction between `name`, `initial-advertise-peer-urls`, `initial-cluster` and
    /// `initial-cluster-state`. [`super::load`] has checked this already when the data directory
    /// was missing or empty.
    pub fn first_start(&self) -> Result<FirstStart, ConfigErrors> {
        if !self.join.is_empty() {
            return Ok(FirstStart::Join(Joining::Told {
                peers: self.join.clone(),
                own: self.initial_advertise_peer_urls.clone(),
            }));
        }
        ConfigErrors::check(self.first_start_faults())?;
        let members = self.initial_cluster.iter().cloned();
        Ok(match self.initial_cluster_state {
            ClusterState::Existing => FirstStart::Join(Joining::Listed(members.collect())),
            ClusterState::New => {
                let id = |urls: &[Url]| identity::member_id(urls, &self.initial_cluster_token);
                let mut members: Vec<_> = members.map(|it| (id(&it.peer_urls), it)).collect();
                members.sort_unstable_by_key(|(id, _)| *id);
                // The id of this member is computed from its entry in the list, as others do: the
                // advertised URLs may spell the same addresses differently.
                let own = members.iter().find(|(_, it)| it.name == self.name);
                FirstStart::Form {
                    member_id: own
                        .map(|(id, _)| *id)
                        .expect("invariant: a cluster without this member was refused above"),
                    cluster_id: identity::cluster_id(members.iter().map(|(id, _)| *id)),
                    members,
                }
            }
        })
    }

    fn first_start_faults(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        let cluster = Origin::Flag("initial-cluster");
        let mut conflict = |second: &'static str, remedy: String| {
            let (first, second) = (cluster.clone(), Origin::Flag(second));
            faults.push(ConfigFault::Conflict {
                first,
                second,
                remedy,
            });
        };
        match self
            .initial_cluster
            .iter()
            .find(|member| member.name == self.name)
        {
            None => conflict(
                "name",
                format!(
                    "the cluster has no member {:?}; list it, or correct the name",
                    self.name
                ),
            ),
            Some(own)
                if self.initial_cluster_state == ClusterState::New
                    // It found itself by its addresses, however these are written.
                    && self.discovery.is_none()
                    && !same_addresses(&own.peer_urls, &self.initial_advertise_peer_urls) =>
            {
                conflict(
                    "initial-advertise-peer-urls",
                    format!(
                        "the cluster lists {:?} with {}, but it advertises {}; make them the same",
                        self.name,
                        list(&own.peer_urls),
                        list(&self.initial_advertise_peer_urls),
                    ),
                );
            }
            Some(_) => {}
        }
        if self.initial_cluster_state == ClusterState::Existing
            && self
                .initial_cluster
                .iter()
                .all(|member| member.name == self.name)
        {
            conflict(
                "initial-cluster-state",
                "joining an existing cluster needs its members; list them".to_owned(),
            );
        }
        for url in repeated(&self.initial_cluster) {
            conflict(
                "initial-cluster",
                format!("{url} stands for two members; give each its own address"),
            );
        }
        faults
    }
}

/// Whether two lists have the same addresses; `localhost` and 127.0.0.1 are equal.
fn same_addresses(left: &[Url], right: &[Url]) -> bool {
    places(left) == places(right)
}

fn places(urls: &[Url]) -> Vec<String> {
    let place = |url: &Url| {
        let address = url.bind_address();
        let place = address.map_or_else(|| url.authority(), |address| address.to_string());
        format!("{}{place}", if url.is_https() { "https://" } else { "" })
    };
    let mut places: Vec<String> = urls.iter().map(place).collect();
    places.sort_unstable();
    places
}

/// The addresses that occur more than once among the members.
fn repeated(members: &[InitialMember]) -> Vec<Url> {
    let mut urls: Vec<&Url> = members
        .iter()
        .flat_map(|member| &member.peer_urls)
        .collect();
    urls.sort_unstable();
    let mut repeated: Vec<Url> = urls
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0].clone())
        .collect();
    repeated.dedup();
    repeated
}

fn list(urls: &[Url]) -> String {
    urls.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

//! The members that a first start is told about, and whether that story holds together.
//!
//! It is read only by a member whose data directory is empty: afterwards the cluster's own record
//! of its members counts, and these settings may grow stale, as they do for etcd.

use std::collections::BTreeMap;

use tenure_statemachine::MemberId;
use thiserror::Error;

use super::{
    fault::{ConfigErrors, ConfigFault, Origin},
    identity::{self, ClusterId},
    settings::{ClusterState, Config},
    url::{Url, UrlFault},
};

/// A member named by `initial-cluster`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialMember {
    /// Its name.
    pub name: String,
    /// Its peer addresses, sorted.
    pub peer_urls: Vec<Url>,
}

/// What a member does when it starts without data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstStart {
    /// It forms a cluster with others that were told the same.
    Form {
        /// This member's id.
        member_id: MemberId,
        /// The cluster's id.
        cluster_id: ClusterId,
        /// Every member with its id, this one among them, by id.
        members: Vec<(MemberId, InitialMember)>,
    },
    /// It joins a cluster that already knows its peer addresses; ids come from there.
    Join {
        /// The other members, to be asked.
        peers: Vec<InitialMember>,
    },
}

/// Why `initial-cluster` does not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum InitialClusterFault {
    /// A part is not a name, an equals sign and an address.
    #[error("{0:?} must be written NAME=URL")]
    Pair(String),
    /// An address is unusable.
    #[error(transparent)]
    Url(#[from] UrlFault),
}

/// Reads `name=URL` pairs; a member with several addresses is named once for each.
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
    /// What to do when there is no data yet.
    ///
    /// # Errors
    /// Every contradiction between `name`, `initial-advertise-peer-urls`, `initial-cluster` and
    /// `initial-cluster-state`. [`super::load`] has asked already when the data directory was
    /// missing or empty.
    pub fn first_start(&self) -> Result<FirstStart, ConfigErrors> {
        ConfigErrors::check(self.first_start_faults())?;
        let members = self.initial_cluster.iter().cloned();
        Ok(match self.initial_cluster_state {
            ClusterState::Existing => FirstStart::Join {
                peers: members.filter(|it| it.name != self.name).collect(),
            },
            ClusterState::New => {
                let id = |urls: &[Url]| identity::member_id(urls, &self.initial_cluster_token);
                let mut members: Vec<_> = members.map(|it| (id(&it.peer_urls), it)).collect();
                members.sort_unstable_by_key(|(id, _)| *id);
                // The own id comes from the own entry, as the others take it from there: the
                // advertised addresses may be the same places in another spelling.
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

/// Whether two lists name the same places; `localhost` and 127.0.0.1 are one.
fn same_addresses(left: &[Url], right: &[Url]) -> bool {
    places(left) == places(right)
}

fn places(urls: &[Url]) -> Vec<String> {
    let place = |url: &Url| {
        url.bind_address()
            .map_or_else(|| url.authority(), |address| address.to_string())
    };
    let mut places: Vec<String> = urls.iter().map(place).collect();
    places.sort_unstable();
    places
}

/// The addresses that stand more than once in a cluster.
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

//! `recover plan`: compares what is left of a cluster whose quorum is lost for good.
//!
//! Only reads. The recovery itself is done on the machine of the member that is named, by a start
//! of its server with a confirmation that this server prints.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::anyhow;
use tenure::{Client, LogEnd, MemberId};

use super::{Session, endpoint};
use crate::{args::Format, failure::Failure};

pub(super) async fn plan(session: &Session) -> Result<(), Failure> {
    if session.output.format != Format::Simple {
        return Err(Failure::Format("recover plan"));
    }
    let endpoints = session.endpoints(false).await?;
    let ask = |client: Client| async move { client.maintenance().log_end().await };
    let (ends, _) = endpoint::each(session, &endpoints, "log", ask).await;
    let plan = Plan::of(ends)?;
    session.output.say(plan.text().as_bytes())?;
    plan.verdict()
}

/// What is left of one cluster.
#[derive(Debug)]
struct Plan {
    /// Where the logs end, of each member once, the last one first.
    ends: Vec<LogEnd>,
    /// The voters of the last membership, and what they are called.
    voters: BTreeMap<MemberId, String>,
}

impl Plan {
    fn of(answers: Vec<(String, LogEnd)>) -> Result<Self, Failure> {
        let mut by_id = BTreeMap::new();
        for (_, end) in answers {
            by_id.insert(end.header().member_id(), end);
        }
        let mut ends: Vec<_> = by_id.into_values().collect();
        // Of two logs the one that ends in the later term holds what was committed; see section
        // 5.4.1 of the Raft paper.
        ends.sort_by_key(|end| std::cmp::Reverse((end.last_term(), end.last_index())));
        let Some(best) = ends.first() else {
            return Err(Failure::Command(anyhow!(
                "no member answers: name those that are left with --endpoints, and start them"
            )));
        };
        let clusters = ends.iter().map(|end| end.header().cluster_id());
        if clusters
            .clone()
            .any(|cluster| cluster != best.header().cluster_id())
        {
            return Err(Failure::usage(format!(
                "these are members of different clusters: {}",
                clusters
                    .map(|id| format!("{id:x}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )));
        }
        let voters = best.members().filter(|member| member.has_vote());
        let voters = voters.map(|member| (member.id(), called(member.id(), member.name())));
        let voters = voters.collect();
        Ok(Self { ends, voters })
    }

    fn best(&self) -> &LogEnd {
        // There is one, or no plan.
        &self.ends[0]
    }

    fn answers(&self, id: MemberId) -> bool {
        self.ends.iter().any(|end| end.header().member_id() == id)
    }

    fn missing(&self) -> Vec<&str> {
        let missing = self.voters.iter().filter(|(id, _)| !self.answers(**id));
        missing.map(|(_, name)| name.as_str()).collect()
    }

    fn has_quorum(&self) -> bool {
        let answering = self.voters.len() - self.missing().len();
        answering > self.voters.len() / 2
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail.
        for end in &self.ends {
            let id = end.header().member_id();
            let part = if self.voters.contains_key(&id) {
                ""
            } else {
                ", no voter"
            };
            let leader = match end.leader() {
                Some(leader) => format!("follows {:x}", leader.get()),
                None => format!("has no leader since {} s", end.leaderless_for().as_secs()),
            };
            _ = writeln!(
                text,
                "{}{part}: last entry {} of term {}, applied {}; it {leader}",
                called(id, end.name()),
                end.last_index(),
                end.last_term(),
                end.applied_index(),
            );
        }
        for name in self.missing() {
            _ = writeln!(text, "{name}: does not answer");
        }
        if !self.has_quorum() {
            let best = self.best();
            _ = write!(
                text,
                "\nThe log of {best} ends last: recover this member.\nMay be lost: what was \
                 acknowledged after its entry {index} of term {term} and was only on {missing}.\n\n\
                 1. Make sure that {missing} can never come back.\n\
                 2. Stop the members that are left, and copy their data directories.\n\
                 3. Start {best} with its own flags and --recover=plan. It prints what it holds, \
                 and a confirmation.\n\
                 4. Start it with its own flags and --recover=CONFIRMATION. It is the only member \
                 of a new cluster.\n\
                 5. For each other member: remove its data directory, run `tenurectl member add`, \
                 and start it as that prints.\n",
                best = called(best.header().member_id(), best.name()),
                index = best.last_index(),
                term = best.last_term(),
                missing = self.missing().join(" and "),
            );
        }
        text
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.has_quorum() {
            return Err(Failure::Command(anyhow!(
                "the quorum is not lost: {} of {} voters answer; replace the others with \
                 `tenurectl member replace`",
                self.voters.len() - self.missing().len(),
                self.voters.len()
            )));
        }
        Ok(())
    }
}

fn called(id: MemberId, name: &str) -> String {
    if name.is_empty() {
        format!("member {:x}", id.get())
    } else {
        format!("{name} ({:x})", id.get())
    }
}

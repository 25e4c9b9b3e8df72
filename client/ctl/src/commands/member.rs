//! `member add|replace|remove|update|list|promote`.

mod wait;

use std::time::Duration;

use anyhow::anyhow;
use tenure::{MemberAdded, MemberId, MemberRole};

use super::{Session, print_message};
use crate::{
    args::{Consistency, Format, Member, NewMember},
    failure::Failure,
    output::Reply,
    quoting::quote,
};

/// How long a member that is to be replaced may take to answer that it lives.
const ALIVE_MAX: Duration = Duration::from_secs(2);

pub(super) async fn run(session: &Session, command: Member) -> Result<(), Failure> {
    let client = &session.client;
    let reply = match command {
        Member::Add { new, learner } => {
            let role = if learner {
                MemberRole::Learner
            } else {
                MemberRole::Voter
            };
            return add(session, &new, role).await;
        }
        Member::Replace { id, new } => return replace(session, id, &new).await,
        Member::Remove { id } => {
            Reply::MemberRemove(id, client.cluster().remove_member(id).await?.into_wire())
        }
        Member::Update { id, peer_urls } => Reply::MemberUpdate(
            id,
            client
                .cluster()
                .update_member(id, peer_urls)
                .await?
                .into_wire(),
        ),
        Member::Promote { id } => {
            Reply::MemberPromote(id, client.cluster().promote_member(id).await?.into_wire())
        }
        Member::List { consistency } => {
            let members = client.cluster().members();
            let members = match consistency {
                Consistency::L => members,
                Consistency::S => members.serializable(),
            };
            Reply::MemberList(members.await?.into_wire())
        }
    };
    session.output.print(&reply)
}

async fn add(session: &Session, new: &NewMember, role: MemberRole) -> Result<(), Failure> {
    let added = session.client.cluster();
    let added = added.add_member(new.peer_urls.clone(), role).await?;
    let reply = Reply::MemberAdd(added.clone().into_wire());
    session.output.print(&reply)?;
    if session.output.format == Format::Simple {
        let settings = settings(&added, &new.name, &new.peer_urls.join(","));
        session.output.say(settings.as_bytes())?;
        let others = added
            .members()
            .iter()
            .filter(|it| it.id() != added.member().id());
        let peers: Vec<_> = others
            .flat_map(|member| member.peer_urls())
            .cloned()
            .collect();
        print_message(format_args!(
            "start it with an empty data directory: tenured --name {} \
             --initial-advertise-peer-urls {} --join {}",
            new.name,
            new.peer_urls.join(","),
            peers.join(",")
        ));
    }
    match new.wait {
        Some(limit) => wait::until_it_votes(session, added.member().id(), limit).await,
        None => Ok(()),
    }
}

/// Removes a lost member, and adds the one that takes its place. In this order: while one of three
/// is lost, the two others are all of the quorum before and after, and the new member does not
/// count until it has caught up.
async fn replace(session: &Session, id: MemberId, new: &NewMember) -> Result<(), Failure> {
    let members = session.client.cluster().members().await?;
    let Some(old) = members.iter().find(|member| member.id() == id) else {
        let text = anyhow!(
            "there is no member {:x}; if it was removed before, add the new one with member add",
            id.get()
        );
        return Err(Failure::Command(text));
    };
    for url in old.client_urls() {
        if serves(session, id, url).await {
            let text = anyhow!(
                "member {:x} serves at {url}, so it is not lost; add the new member first, with \
                 member add --wait, and then remove this one",
                id.get()
            );
            return Err(Failure::Command(text));
        }
    }
    session.client.cluster().remove_member(id).await?;
    print_message(format_args!("member {:x} is removed", id.get()));
    add(session, new, MemberRole::Voter).await.inspect_err(|_| {
        print_message(format_args!(
            "member {:x} is removed; what failed came after. See with member list whether the new \
             member was added, and add it with member add if not",
            id.get()
        ));
    })
}

/// Whether the member answers at this URL, and knows a leader.
async fn serves(session: &Session, id: MemberId, url: &str) -> bool {
    let Ok(client) = session.client.only(url) else {
        return false;
    };
    let client = client.with_timeout(ALIVE_MAX);
    let status = client.maintenance().status().await;
    status.is_ok_and(|status| {
        let wire = status.into_wire();
        wire.leader != 0
            && wire
                .header
                .is_some_and(|header| header.member_id == id.get())
    })
}

/// The settings a server needs to join as the new member.
fn settings(response: &MemberAdded, name: &str, peer_urls: &str) -> String {
    let id = response.member().id();
    let cluster: Vec<_> = response
        .members()
        .iter()
        .flat_map(|member| {
            let name = if member.id() == id {
                name
            } else {
                member.name()
            };
            let urls = member.peer_urls().iter();
            urls.map(move |url| format!("{name}={url}"))
        })
        .collect();
    format!(
        "\nETCD_NAME={}\nETCD_INITIAL_CLUSTER={}\nETCD_INITIAL_ADVERTISE_PEER_URLS={}\n\
         ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
        quote(name.as_bytes()),
        quote(cluster.join(",").as_bytes()),
        quote(peer_urls.as_bytes()),
    )
}

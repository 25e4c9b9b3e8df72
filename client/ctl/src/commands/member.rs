//! `member add|remove|update|list|promote`.

use tenure::{MemberAdded, MemberRole};

use super::Session;
use crate::{
    args::{Consistency, Format, Member},
    failure::Failure,
    output::Reply,
    quoting::quote,
};

pub(super) async fn run(session: &Session, command: Member) -> Result<(), Failure> {
    let client = &session.client;
    let reply = match command {
        Member::Add {
            name,
            peer_urls,
            learner,
        } => {
            let role = if learner {
                MemberRole::Learner
            } else {
                MemberRole::Voter
            };
            let response = client.cluster().add_member(peer_urls.clone(), role).await?;
            session
                .output
                .print(&Reply::MemberAdd(response.clone().into_wire()))?;
            if session.output.format == Format::Simple {
                let settings = settings(&response, &name, &peer_urls.join(","));
                session.output.say(settings.as_bytes())?;
            }
            return Ok(());
        }
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

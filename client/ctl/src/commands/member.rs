//! `member add|remove|update|list|promote`.

use tenure::{Freshness, MemberRole, wire::etcdserverpb::MemberAddResponse};

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
            let response = client.member_add(peer_urls.clone(), role).await?;
            session.output.print(&Reply::MemberAdd(response.clone()))?;
            if session.output.format == Format::Simple {
                let settings = settings(&response, &name, &peer_urls.join(","));
                session.output.say(settings.as_bytes())?;
            }
            return Ok(());
        }
        Member::Remove { id } => Reply::MemberRemove(id, client.member_remove(id).await?),
        Member::Update { id, peer_urls } => {
            Reply::MemberUpdate(id, client.member_update(id, peer_urls).await?)
        }
        Member::Promote { id } => Reply::MemberPromote(id, client.member_promote(id).await?),
        Member::List { consistency } => {
            let freshness = match consistency {
                Consistency::L => Freshness::Linearizable,
                Consistency::S => Freshness::Serializable,
            };
            Reply::MemberList(client.member_list(freshness).await?)
        }
    };
    session.output.print(&reply)
}

/// The settings a server needs to join as the new member.
fn settings(response: &MemberAddResponse, name: &str, peer_urls: &str) -> String {
    let id = response.member.as_ref().map_or(0, |member| member.id);
    let cluster: Vec<_> = response
        .members
        .iter()
        .flat_map(|member| {
            let name = if member.id == id { name } else { &member.name };
            member
                .peer_ur_ls
                .iter()
                .map(move |url| format!("{name}={url}"))
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

//! `move-leader`: finds the leader, and transfers its leadership.

use tenure::{Client, MemberId, wire::etcdserverpb::MoveLeaderResponse};

use super::Session;
use crate::{failure::Failure, output::Reply};

pub(super) async fn run(session: &Session, target: MemberId) -> Result<(), Failure> {
    let endpoints: Vec<_> = session.client.endpoints().collect();
    let mut named = None;
    for endpoint in &endpoints {
        let client = session.client.only(*endpoint)?;
        let status = client.maintenance().status().await?;
        if let Some(from) = status.leader().filter(|_| status.is_leader()) {
            return transfer(session, &client, from, target).await;
        }
        named = named.or(status.leader());
    }
    // None of the endpoints leads; the members tell where the one is that does.
    if let Some(from) = named {
        let members = session.client.cluster().members().await?;
        let leader = members.iter().find(|member| member.id() == from);
        if let Some(url) = leader.and_then(|leader| leader.client_urls().first()) {
            let client = session.client.only(url.clone())?;
            return transfer(session, &client, from, target).await;
        }
    }
    let text = format!("no leader endpoint given at {endpoints:?}: name it with --endpoints");
    Err(Failure::usage(text))
}

async fn transfer(
    session: &Session,
    leader: &Client,
    from: MemberId,
    to: MemberId,
) -> Result<(), Failure> {
    let moved = leader.maintenance().move_leader(to).await?;
    let header = Some(moved.into_wire());
    let response = MoveLeaderResponse { header };
    session
        .output
        .print(&Reply::MoveLeader { from, to, response })
}

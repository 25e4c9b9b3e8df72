//! `move-leader`: finds the leader among the endpoints and tells it to hand over.

use tenure::MemberId;

use super::Session;
use crate::{failure::Failure, output::Reply};

pub(super) async fn run(session: &Session, target: MemberId) -> Result<(), Failure> {
    let endpoints: Vec<_> = session.client.endpoints().collect();
    for endpoint in &endpoints {
        let client = session.client.only(*endpoint)?;
        let status = client.status().await?;
        if status.header.unwrap_or_default().member_id == status.leader {
            let response = client.move_leader(target).await?;
            let from = MemberId::from(status.leader);
            return session.output.print(&Reply::MoveLeader {
                from,
                to: target,
                response,
            });
        }
    }
    let text = format!("no leader endpoint given at {endpoints:?}: name it with --endpoints");
    Err(Failure::usage(text))
}

//! `move-leader`: finds the leader among the endpoints and transfers its leadership.

use tenure::{MemberId, wire::etcdserverpb::MoveLeaderResponse};

use super::Session;
use crate::{failure::Failure, output::Reply};

pub(super) async fn run(session: &Session, target: MemberId) -> Result<(), Failure> {
    let endpoints: Vec<_> = session.client.endpoints().collect();
    for endpoint in &endpoints {
        let client = session.client.only(*endpoint)?;
        let status = client.maintenance().status().await?;
        if let Some(from) = status.leader().filter(|_| status.is_leader()) {
            let moved = client.maintenance().move_leader(target).await?;
            let header = Some(moved.into_wire());
            let response = MoveLeaderResponse { header };
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

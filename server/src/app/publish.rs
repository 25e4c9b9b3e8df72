//! Publishes the client URLs of this member in the replicated state.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::{Command, MemberAttributes, Reader};
use tracing::{debug, info};

use crate::{
    config::Config,
    fatal,
    node::{Node, Replica},
    tasks,
};

/// Pause before a retry. Without a quorum no client could read the result anyway.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Publishes until it succeeds once. A repeated proposal is harmless.
pub(super) fn spawn(node: Arc<Node>, config: Arc<Config>) {
    tasks::spawn("publish", async move {
        let wanted = MemberAttributes {
            id: node.identity().member_id,
            name: config.name.clone(),
            client_urls: config
                .advertise_client_urls
                .iter()
                .map(ToString::to_string)
                .collect(),
        };
        loop {
            if node.read_barrier().await.is_ok() {
                if known(&node, &wanted) {
                    return;
                }
                match node.propose(Command::MemberPublish(wanted.clone())).await {
                    Ok(_) => {
                        info!(urls = ?wanted.client_urls, "published this member's addresses");
                        return;
                    }
                    Err(error) => debug!(%error, "not published yet"),
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    });
}

fn known(node: &Node, wanted: &MemberAttributes) -> bool {
    let engine = node.engine();
    let members = engine
        .snapshot()
        .map_err(Into::into)
        .and_then(|view| Reader::new(&*view)?.members())
        .unwrap_or_else(|fault| fatal::stop(&fault));
    members.contains(wanted)
}

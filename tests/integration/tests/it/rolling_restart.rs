//! Every node is restarted in turn while clients write: what an upgrade does.

use tenure_testkit::Cluster;

use crate::writers::Writers;

/// Puts between two restarts.
const PUTS: usize = 100;

#[tokio::test]
async fn no_call_of_a_client_fails_while_every_node_is_restarted() {
    let mut cluster = Cluster::start(3).await;
    let addresses = cluster.addresses();
    let writers = Writers::plain(&addresses).await;
    // Twice, so that a node that was restarted leads when another goes.
    for _ in 0..2 {
        for node in 0..3 {
            writers.wait_for(PUTS).await;
            let ended = cluster.node_mut(node).terminate().await;
            assert!(ended.success(), "{}", cluster.node(node).log_end());
            writers.wait_for(PUTS).await;
            cluster.node_mut(node).restart().await;
        }
    }
    writers.finish(&addresses).await;
}

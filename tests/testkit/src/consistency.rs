//! What must hold of a quorum after anything was done to it.

use std::collections::BTreeMap;

use crate::{
    cluster::Cluster,
    load::Acknowledged,
    wait::{STATE_MAX, wait_until},
};

/// Waits until all nodes are at one revision, and checks that they hold the same history.
///
/// # Panics
/// When they do not.
pub async fn assert_same_everywhere(cluster: &Cluster) {
    let revision = wait_until("all nodes are at one revision", STATE_MAX, async || {
        let mut revisions = Vec::new();
        for node in cluster.nodes() {
            let status = node
                .calls()
                .status()
                .await
                .map_err(|error| error.to_string())?;
            revisions.push(status.header.unwrap_or_default().revision);
        }
        let same = revisions.iter().all(|revision| *revision == revisions[0]);
        same.then_some(revisions[0])
            .ok_or_else(|| format!("they are at {revisions:?}"))
    })
    .await;
    let mut hashes = Vec::new();
    for node in cluster.nodes() {
        let hash = node.calls().hash_kv(revision).await;
        hashes.push(hash.unwrap_or_else(|error| panic!("{} has no hash: {error}", node.name())));
    }
    assert!(
        hashes.iter().all(|hash| *hash == hashes[0]),
        "histories up to revision {revision} differ: {hashes:x?}"
    );
}

/// Checks that every acknowledged put below `prefix` is there, read through every node.
///
/// # Panics
/// When one is lost, changed, or younger than its acknowledgement.
pub async fn assert_kept(cluster: &Cluster, prefix: &str, acknowledged: &[Acknowledged]) {
    for node in cluster.nodes() {
        let found = node.calls().get_prefix(prefix).await;
        let found = found.unwrap_or_else(|error| panic!("{} does not read: {error}", node.name()));
        let found: BTreeMap<_, _> = found.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        for put in acknowledged {
            let kv = found.get(put.key.as_bytes()).unwrap_or_else(|| {
                panic!(
                    "{}, acknowledged at revision {}, is not at {}",
                    put.key,
                    put.revision,
                    node.name()
                )
            });
            assert_eq!(kv.value, put.value, "{} has another value", put.key);
            // An attempt whose outcome was unknown may have come after the acknowledged one.
            assert!(
                kv.create_revision <= put.revision && put.revision <= kv.mod_revision,
                "{} is not from its acknowledgement: {put:?}, {kv:?}",
                put.key
            );
        }
    }
}

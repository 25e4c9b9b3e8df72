//! One attack on one fresh cluster.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tenure_proto::etcdserverpb::{StatusRequest, maintenance_client::MaintenanceClient};
use tokio::time::timeout;

use super::{attack::Attack, fill, honest::Honest, limit::MemoryLimit, peaks::Peaks, report::Row};
use crate::cluster::{Cluster, System};

/// Memory of a node. The findings that the attacks come from were made with as much.
const NODE_BYTES_MAX: u64 = 2 << 30;
/// Longest that one attack may take; a server that needs longer has failed it.
const ATTACK_MAX: Duration = Duration::from_secs(60);
/// Longest that its data may take to be written.
const FILL_MAX: Duration = Duration::from_secs(120);
/// How long the honest clients go on after the attack: what it left behind shows in that time.
const AFTER: Duration = Duration::from_secs(5);
/// How long a status may take.
const STATUS_MAX: Duration = Duration::from_secs(5);

/// Whether memory and descriptors can be bounded here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) memory: bool,
    pub(super) descriptors: bool,
}

/// Starts a cluster, attacks its leader, and tells how it went.
pub(super) async fn meet(
    attack: Attack,
    system: System,
    program: &Path,
    directory: Option<&PathBuf>,
    bounds: Bounds,
) -> Result<Row> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("tenure-hostile-");
    let directory = match directory {
        Some(parent) => builder.tempdir_in(parent),
        None => builder.tempdir(),
    };
    let directory = directory.context("making a directory")?;
    let wrapper = match attack.descriptors() {
        Some(most) if bounds.descriptors => vec!["prlimit".to_owned(), format!("--nofile={most}")],
        _ => Vec::new(),
    };
    // Dropped after the nodes.
    let mut limit = None;
    let mut cluster = Cluster::start_within(system, program, directory.path(), 1, &wrapper).await?;
    if bounds.memory {
        let limited = MemoryLimit::of(&cluster.pids(), NODE_BYTES_MAX);
        limit = Some(limited.context("bounding the memory of the nodes")?);
    }
    let leader = cluster.leader().await?;
    timeout(FILL_MAX, fill::fill(&cluster, leader, attack.data()))
        .await
        .context("the data was not written in time")?
        .context("writing the data")?;
    let urls = cluster.urls();
    let honest = Honest::start(&urls).await?;
    // The filling may have moved the lead; what counts begins here.
    let leader = cluster.leader().await?;
    let term = term(&cluster).await;
    let peaks = Peaks::start(cluster.pids());
    let began = Instant::now();
    let answer = match timeout(ATTACK_MAX, attack.make(&urls[leader])).await {
        Ok(answer) => answer,
        Err(_) => format!("not over after {} s", ATTACK_MAX.as_secs()),
    };
    let took = began.elapsed();
    // Time is the subject: what is seen after the attack.
    tokio::time::sleep(AFTER).await;
    let waits = honest.stop()?;
    let elections = term.zip(self::term(&cluster).await);
    let row = Row {
        attack,
        system,
        answer,
        took,
        waits,
        nodes: urls.len(),
        alive: urls.len() - cluster.ended(),
        elections: elections.map(|(before, after)| after.saturating_sub(before)),
        peak_bytes: peaks.stop(),
    };
    drop(cluster);
    drop(limit);
    Ok(row)
}

/// The greatest term that a node tells of.
async fn term(cluster: &Cluster) -> Option<u64> {
    let mut greatest = None;
    for channel in cluster.connections().nodes() {
        let mut maintenance = MaintenanceClient::new(channel);
        let status = timeout(STATUS_MAX, maintenance.status(StatusRequest {})).await;
        if let Ok(Ok(status)) = status {
            greatest = greatest.max(Some(status.into_inner().raft_term));
        }
    }
    greatest
}

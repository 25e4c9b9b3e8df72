//! Implements the health checks of the HTTP pages on a running node.

use std::sync::Arc;

use tenure_proto::API_VERSION;
use tenure_statemachine::{AlarmKind, Reader, Table};

use super::supervisor::Signs;
use crate::{
    admin::{Alarm, Health, ProbeFuture},
    fatal,
    node::{Node, Replica},
};

/// Answers the health checks of the HTTP pages.
#[derive(Debug)]
pub(super) struct Probes {
    node: Arc<Node>,
}

impl Probes {
    pub(super) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    fn read(&self) {
        // Reads a snapshot: the engine's cache for the writer is the writer's alone.
        let engine = self.node.engine();
        let read = engine
            .snapshot()
            .and_then(|view| view.get(Table::Current, b"health"));
        if let Err(error) = read {
            fatal::stop(&error);
        }
    }
}

impl Health for Probes {
    fn has_leader(&self) -> bool {
        self.node.status().leader.is_some()
    }

    fn is_learner(&self) -> bool {
        // One that was added as a voter and has not caught up does not count towards the quorum:
        // who takes down another member because this one is ready would lose it.
        let status = self.node.status();
        status.is_learner || !status.has_vote
    }

    fn alarms(&self) -> Vec<Alarm> {
        let engine = self.node.engine();
        let alarms = engine
            .snapshot()
            .map_err(Into::into)
            .and_then(|view| Reader::new(&*view)?.alarms())
            .unwrap_or_else(|fault| fatal::stop(&fault));
        alarms
            .into_iter()
            .map(|(_, kind)| match kind {
                AlarmKind::NoSpace => Alarm::NoSpace,
                AlarmKind::Corrupt => Alarm::Corrupt,
            })
            .collect()
    }

    fn disk(&self) -> Result<(), String> {
        let backlog = self.node.log_backlog();
        match backlog.busy_for().filter(|_| backlog.is_stalled()) {
            Some(busy) => {
                let seconds = busy.as_secs_f64();
                Err(format!(
                    "a write to the log has not ended after {seconds:.1} s"
                ))
            }
            None => Ok(()),
        }
    }

    fn cluster_version(&self) -> Option<String> {
        Some(API_VERSION.to_owned())
    }

    fn linearizable_read(&self) -> ProbeFuture<'_> {
        Box::pin(async {
            self.node
                .read_barrier()
                .await
                .map_err(|error| format!("etcdserver: {error}"))?;
            self.read();
            Ok(())
        })
    }

    fn serializable_read(&self) -> ProbeFuture<'_> {
        Box::pin(async {
            self.read();
            Ok(())
        })
    }
}

impl Signs for Probes {
    fn health(&self) -> &dyn Health {
        self
    }

    fn alive(&self) -> ProbeFuture<'_> {
        Box::pin(async {
            self.serializable_read().await?;
            if self.node.consensus_answers().await {
                Ok(())
            } else {
                Err("consensus ended".to_owned())
            }
        })
    }
}

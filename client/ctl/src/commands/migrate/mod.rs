//! `migrate`: moves to another cluster while this one is in use.
//!
//! With a folder the destination is restored from a snapshot and keeps revisions, versions and
//! leases; every later revision is then written to it as one transaction. Without one, keys, values
//! and leases are copied into a running cluster.

mod follow;
mod replay;
mod values;
mod verify;

use tenure::Client;

use super::signals::Signals;
use crate::{
    args::{Global, MigrateArgs},
    commands,
    failure::Failure,
    output::Output,
    replication::{Role, destination},
};

pub(super) async fn run(
    global: &Global,
    output: Output,
    args: &MigrateArgs,
) -> Result<(), Failure> {
    let signals = Signals::take()?;
    // Settings of the connection are those of the source, as with `make-mirror`.
    let there = Global {
        endpoints: args.from.clone(),
        ..global.clone()
    };
    let source = commands::connect(&there).await?;
    let other = if args.to.is_empty() {
        None
    } else {
        Some(destination(global, &args.to, &args.access).await?)
    };
    match (&args.dir, other) {
        (Some(directory), other) => {
            let plan = Move {
                source,
                destination: other,
                args,
                output,
            };
            follow::run(plan, directory, signals).await
        }
        (None, Some(other)) => values::run(&source, &other, args, signals).await,
        (None, None) => Err(Failure::usage("--to names the cluster to move to")),
    }
}

/// A move that keeps revisions.
struct Move<'a> {
    source: Client,
    destination: Option<Client>,
    args: &'a MigrateArgs,
    output: Output,
}

impl Move<'_> {
    /// The endpoints of a cluster, as they are written on a command line.
    fn endpoints(&self, role: Role) -> String {
        match role {
            Role::Source => self.args.from.join(","),
            Role::Destination => self.args.to.join(","),
        }
    }
}

//! The cells: a load, how many clients, and where they go.

use anyhow::{Result, bail};

/// What a client does, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Put a random key.
    Put,
    /// Read one random key, confirmed by the quorum.
    LinearizableRange,
    /// Read one random key from the node's own state.
    SerializableRange,
    /// Nine linearizable reads to one put.
    Mix,
    /// Put a key if it is unchanged since this client wrote it.
    Swap,
    /// Grant a lease.
    Grant,
    /// Renew one lease, on one stream.
    KeepAlive,
    /// Revoke a lease that was granted before.
    Revoke,
    /// Watch one prefix that a single client writes to.
    Watch,
    /// Acquire one lock that all want, and give it back.
    Lock,
    /// Resolve a service whose instance changes its readiness.
    Ready,
    /// Resolve a service whose instances crash.
    Crash,
}

/// Which nodes the clients talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// The leader alone.
    Leader,
    /// All nodes in turn.
    AllNodes,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) load: Load,
    pub(crate) clients: usize,
    pub(crate) aim: Aim,
}

const fn cell(name: &'static str, load: Load, clients: usize, aim: Aim) -> Cell {
    Cell {
        name,
        load,
        clients,
        aim,
    }
}

/// Every cell, in the order it runs.
pub(crate) const CELLS: [Cell; 16] = [
    cell("put1", Load::Put, 1, Aim::Leader),
    cell("put16", Load::Put, 16, Aim::Leader),
    cell("put64", Load::Put, 64, Aim::Leader),
    cell("put256", Load::Put, 256, Aim::Leader),
    cell("put64-all", Load::Put, 64, Aim::AllNodes),
    cell("range64", Load::LinearizableRange, 64, Aim::AllNodes),
    cell("local64", Load::SerializableRange, 64, Aim::AllNodes),
    cell("mix64", Load::Mix, 64, Aim::AllNodes),
    cell("swap64", Load::Swap, 64, Aim::Leader),
    cell("grant64", Load::Grant, 64, Aim::AllNodes),
    cell("alive64", Load::KeepAlive, 64, Aim::AllNodes),
    cell("revoke64", Load::Revoke, 64, Aim::AllNodes),
    cell("watch100", Load::Watch, 100, Aim::AllNodes),
    cell("lock100", Load::Lock, 100, Aim::AllNodes),
    cell("ready100", Load::Ready, 100, Aim::AllNodes),
    cell("crash20", Load::Crash, 20, Aim::AllNodes),
];

/// The cells with these names; all when there are none.
pub(crate) fn select(names: &[String]) -> Result<Vec<Cell>> {
    for name in names {
        if !CELLS.iter().any(|cell| cell.name == name) {
            let known: Vec<_> = CELLS.iter().map(|cell| cell.name).collect();
            bail!("no cell is called {name}; there are {}", known.join(", "));
        }
    }
    let chosen = |cell: &Cell| names.is_empty() || names.iter().any(|name| name == cell.name);
    Ok(CELLS.into_iter().filter(chosen).collect())
}

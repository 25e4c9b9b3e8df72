//! What the command line says, and its limits.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::Parser;

use crate::cell::{self, Cell};

/// Longest measured part of a round. Every latency is kept until the round ends; at the rates two
/// cores reach this is some tens of megabytes.
const SECONDS_MAX: f64 = 600.0;
/// Most rounds per cell; the median of more tells nothing new.
const ROUNDS_MAX: usize = 99;
/// Most connections to one node; with more each carries too little to be like a real client's.
const CONNECTIONS_MAX: usize = 64;
/// Most keys; they are written one by one before the first cell.
const KEYS_MAX: usize = 1_000_000;
/// Largest value: below what either system takes in one request.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Smallest value: the watch load puts a time and a number into it.
const VALUE_BYTES_MIN: usize = 32;
/// What `--quick` measures per round.
const QUICK_SECONDS: f64 = 0.5;
/// Part of the measured time that is spent before it, unmeasured.
const WARM_UP_SHARE: f64 = 0.2;

/// Drives the same load against three nodes of tenure and, when installed, three of etcd.
#[derive(Clone, Debug, Parser)]
#[command(name = "load")]
pub struct Arguments {
    /// One short round per cell: shows that every load runs, measures nothing.
    #[arg(long)]
    pub quick: bool,
    /// Cells to run, by name (see --list); all when absent.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Rounds per cell and system; the median counts.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Seconds measured per round.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Leave etcd out.
    #[arg(long)]
    pub no_etcd: bool,
    /// Leave tenure out.
    #[arg(long, conflicts_with = "no_etcd")]
    pub no_tenure: bool,
    /// File for the figures as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Where the data directories are made; must not be in memory.
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// Connections to each node.
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Keys in the key space.
    #[arg(long, default_value_t = 10_000)]
    pub keys: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    pub value_bytes: usize,
    /// The server under test; the one beside this program when absent.
    #[arg(long, env = "TENURED_BIN")]
    pub tenured: Option<PathBuf>,
    /// Another build of tenure, driven beside the one under test in the same rounds.
    #[arg(long, env = "TENURED_BEFORE_BIN", conflicts_with = "no_tenure")]
    pub before: Option<PathBuf>,
    /// The server to compare with.
    #[arg(long, env = "ETCD_BIN", default_value = "etcd")]
    pub etcd: PathBuf,
    /// Print the names of the cells and end.
    #[arg(long)]
    pub list: bool,
}

impl Arguments {
    /// Checks the limits and finds the cells.
    pub(crate) fn settle(&mut self) -> Result<Vec<Cell>> {
        if self.quick {
            self.rounds = 1;
            self.seconds = self.seconds.min(QUICK_SECONDS);
        }
        if !(self.seconds > 0.0 && self.seconds <= SECONDS_MAX) {
            bail!("--seconds must be above 0 and at most {SECONDS_MAX}");
        }
        within("rounds", self.rounds, 1, ROUNDS_MAX)?;
        within("connections", self.connections, 1, CONNECTIONS_MAX)?;
        within("keys", self.keys, 1, KEYS_MAX)?;
        within(
            "value-bytes",
            self.value_bytes,
            VALUE_BYTES_MIN,
            VALUE_BYTES_MAX,
        )?;
        cell::select(&self.only)
    }

    pub(crate) fn measured(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.seconds * WARM_UP_SHARE)
    }
}

fn within(name: &str, value: usize, least: usize, most: usize) -> Result<()> {
    if value < least || value > most {
        bail!("--{name} must be between {least} and {most}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(line: &[&str]) -> Result<(Arguments, Vec<Cell>)> {
        let mut arguments = Arguments::try_parse_from([&["load"], line].concat())?;
        let cells = arguments.settle()?;
        Ok((arguments, cells))
    }

    #[test]
    fn a_quick_run_is_one_short_round_of_every_cell() {
        let (arguments, cells) = settled(&["--quick"]).unwrap();
        assert_eq!(arguments.rounds, 1);
        assert!(arguments.seconds < 1.0);
        assert_eq!(cells.len(), cell::CELLS.len());
    }

    #[test]
    fn cells_are_chosen_by_name_in_the_order_of_the_table() {
        let (_, cells) = settled(&["--only", "watch100,put64"]).unwrap();
        let names: Vec<_> = cells.iter().map(|cell| cell.name).collect();
        assert_eq!(names, ["put64", "watch100"]);
    }

    #[test]
    fn an_unknown_cell_is_refused() {
        assert!(
            settled(&["--only", "put65"])
                .unwrap_err()
                .to_string()
                .contains("put65")
        );
    }

    #[test]
    fn values_beyond_the_limits_are_refused() {
        for line in [
            ["--seconds", "0"],
            ["--seconds", "601"],
            ["--rounds", "0"],
            ["--connections", "65"],
            ["--keys", "0"],
            ["--value-bytes", "31"],
        ] {
            assert!(settled(&line).is_err(), "{line:?}");
        }
    }
}

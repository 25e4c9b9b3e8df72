//! One hostile client against three nodes with bounded memory, beside honest clients of all nodes.
//!
//! What counts: that every node lives, that the lead stays where it is, and how long the honest
//! clients waited at worst, beside etcd's figures in the same run. Loopback only, and every part
//! is bounded in time.

mod attack;
mod crowd;
mod fill;
mod honest;
mod leases;
mod limit;
mod meet;
mod peaks;
mod raw;
mod reads;
mod report;
mod watchers;
mod writes;

use std::{
    io::Write,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;

use self::{
    attack::Attack,
    limit::MemoryLimit,
    meet::{Bounds, meet},
};
use crate::cluster::{self, System};

/// Longest that a run goes on to further attacks.
const RUN_MAX: Duration = Duration::from_secs(20 * 60);

/// Sends one hostile request, or one client's worth of them, to three nodes of tenure and of etcd.
#[derive(Clone, Debug, Parser)]
#[command(name = "hostile")]
pub struct Arguments {
    /// Attacks to make, by name; all when absent.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Attack>,
    /// Leave etcd out.
    #[arg(long)]
    no_etcd: bool,
    /// Where the data directories are made.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// The server under test; the one beside this program when absent.
    #[arg(long, env = "TENURED_BIN")]
    tenured: Option<PathBuf>,
    /// The server to compare with.
    #[arg(long, env = "ETCD_BIN", default_value = "etcd")]
    etcd: PathBuf,
}

/// Runs the attacks; true when tenure's nodes lived through all of them and kept their leader.
///
/// # Errors
/// When there is no server, or the report cannot be written.
pub async fn run(arguments: Arguments, out: &mut (dyn Write + Send)) -> Result<bool> {
    let systems = systems(&arguments, out)?;
    let bounds = bounds(out)?;
    let attacks = if arguments.only.is_empty() {
        Attack::ALL.to_vec()
    } else {
        arguments.only.clone()
    };
    writeln!(out, "{}", report::HEADING)?;
    let began = Instant::now();
    let (mut held, mut longer) = (true, Vec::new());
    for attack in attacks {
        if began.elapsed() > RUN_MAX {
            writeln!(out, "**** {} is left out: no time", attack.name())?;
            held = false;
            continue;
        }
        let mut rows = Vec::new();
        for (system, program) in &systems {
            match meet(
                attack,
                *system,
                program,
                arguments.directory.as_ref(),
                bounds,
            )
            .await
            {
                Ok(row) => {
                    held &= *system != System::Tenure || row.held();
                    writeln!(out, "{row}")?;
                    rows.push(row);
                }
                Err(error) => {
                    held &= *system != System::Tenure;
                    writeln!(out, "{:<9} {system:<7} no result: {error:#}", attack.name())?;
                }
            }
            out.flush()?;
        }
        if let [own, other] = rows.as_slice()
            && own.waited_longer(other)
        {
            longer.push(attack.name());
        }
    }
    conclude(&longer, held, out)?;
    Ok(held)
}

fn conclude(longer: &[&str], held: bool, out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "tenure: {}; honest clients waited longer than beside etcd and 250 ms in: {}",
        if held {
            "every node lived, and no lead moved"
        } else {
            "a node ended, a lead moved, or an attack was not made"
        },
        if longer.is_empty() {
            "none".to_owned()
        } else {
            longer.join(", ")
        }
    )?;
    Ok(())
}

fn systems(arguments: &Arguments, out: &mut dyn Write) -> Result<Vec<(System, PathBuf)>> {
    let own = match &arguments.tenured {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .context("finding this program")?
            .with_file_name("tenured"),
    };
    let version = cluster::version(&own).with_context(|| format!("no {}", own.display()))?;
    writeln!(out, "tenure: {version}")?;
    let mut systems = vec![(System::Tenure, own)];
    match cluster::version(&arguments.etcd) {
        Some(version) if !arguments.no_etcd => {
            writeln!(out, "etcd: {version}")?;
            systems.push((System::Etcd, arguments.etcd.clone()));
        }
        _ => writeln!(
            out,
            "**** etcd is left out: there is nothing to compare with"
        )?,
    }
    Ok(systems)
}

/// What can be bounded here; says loudly what cannot.
fn bounds(out: &mut dyn Write) -> Result<Bounds> {
    let memory = MemoryLimit::is_possible();
    if !memory {
        writeln!(
            out,
            "**** no control group to be had: nothing bounds the memory of the nodes"
        )?;
    }
    let prlimit = Command::new("prlimit").arg("--version").output();
    let descriptors = prlimit.is_ok_and(|output| output.status.success());
    if !descriptors {
        writeln!(
            out,
            "**** no prlimit (Debian: util-linux): nothing bounds the descriptors of the nodes"
        )?;
    }
    Ok(Bounds {
        memory,
        descriptors,
    })
}

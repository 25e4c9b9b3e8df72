//! A run: both clusters up, every cell in rounds that alternate between them, then the report.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{
    arguments::Arguments,
    cell::{self, Cell},
    cluster::{self, Cluster, System},
    report::{Heading, Report, Row},
    round::{self, Failures, Settings},
    work::KeySpace,
};

/// Whether the load went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every request was answered as it should be.
    Clean,
    /// Some were not.
    RequestsFailed,
}

/// Does what the command line says.
///
/// # Errors
/// When the clusters cannot be started, or a node ends, or a file cannot be written.
pub async fn run(mut arguments: Arguments, out: &mut (dyn Write + Send)) -> Result<Verdict> {
    let cells = arguments.settle()?;
    if arguments.list {
        cell::CELLS
            .iter()
            .try_for_each(|cell| writeln!(out, "{}", cell.name))?;
        return Ok(Verdict::Clean);
    }
    let contenders = contenders(&arguments, out)?;
    // Dropped after the clusters below it, which write to it.
    let directory = directory(&arguments)?;
    warn_of_memory(directory.path(), out)?;
    let settings = Settings {
        warm_up: arguments.warm_up(),
        measured: arguments.measured(),
        space: KeySpace {
            keys: arguments.keys,
            value_bytes: arguments.value_bytes,
        },
    };
    let mut clusters = Vec::new();
    for contender in &contenders {
        let (system, program) = (contender.system, &contender.program);
        let cluster =
            Cluster::start(system, program, directory.path(), arguments.connections).await?;
        writeln!(
            out,
            "{system} serves; its nodes are processes {:?}",
            cluster.pids()
        )?;
        round::fill(&cluster, settings.space).await?;
        clusters.push(cluster);
    }
    writeln!(out, "\n{Heading}")?;
    let (mut rows, mut failed) = (Vec::new(), 0);
    for cell in cells {
        let row = run_cell(
            cell,
            &clusters,
            settings,
            arguments.rounds,
            &mut failed,
            out,
        )
        .await?;
        write!(out, "{row}")?;
        out.flush()?;
        rows.push(row);
    }
    let report = report(&arguments, &contenders, rows, failed);
    writeln!(out, "\n{report}")?;
    if let Some(path) = &arguments.json {
        let json = serde_json::to_vec_pretty(&report)?;
        fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(if failed == 0 {
        Verdict::Clean
    } else {
        Verdict::RequestsFailed
    })
}

/// A server to start, and what it says of itself.
struct Contender {
    system: System,
    program: PathBuf,
    version: String,
}

fn contenders(arguments: &Arguments, out: &mut dyn Write) -> Result<Vec<Contender>> {
    let mut found = Vec::new();
    let mut add = |system, program: PathBuf, flag| {
        let version = cluster::version(&program)
            .with_context(|| format!("{} is not a server; see {flag}", program.display()))?;
        found.push(Contender {
            system,
            program,
            version,
        });
        anyhow::Ok(())
    };
    if !arguments.no_tenure {
        let program = arguments.tenured.clone();
        let program = program.map_or_else(beside_this_program, Ok)?;
        add(System::Tenure, program, "--tenured")?;
    }
    if let Some(program) = arguments.before.clone() {
        add(System::Before, program, "--before")?;
    }
    if arguments.no_etcd {
        return Ok(found);
    }
    let program = arguments.etcd.clone();
    match cluster::version(&program) {
        Some(version) => found.push(Contender {
            system: System::Etcd,
            program,
            version,
        }),
        None if found.is_empty() => bail!("etcd is not installed, and tenure was left out"),
        None => writeln!(
            out,
            "**** etcd IS NOT INSTALLED: there is nothing to compare with. The figures below are\n\
             **** tenure's alone and say nothing by themselves. Install the package etcd-server.",
        )?,
    }
    Ok(found)
}

fn beside_this_program() -> Result<PathBuf> {
    let own = env::current_exe().context("finding this program")?;
    Ok(own.with_file_name("tenured"))
}

fn directory(arguments: &Arguments) -> Result<TempDir> {
    let parent = arguments.directory.clone().unwrap_or_else(env::temp_dir);
    tempfile::Builder::new()
        .prefix("tenure-bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("making a directory in {}", parent.display()))
}

/// Says so when the data would lie in memory, where a sync costs nothing.
fn warn_of_memory(directory: &Path, out: &mut dyn Write) -> Result<()> {
    let directory = directory.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if filesystem(&mounts, &directory).is_some_and(|kind| matches!(kind, "tmpfs" | "ramfs")) {
        let shown = directory.display();
        writeln!(
            out,
            "**** {shown} IS IN MEMORY: syncs are free there. Use --directory."
        )?;
    }
    Ok(())
}

/// The kind of file system that `directory` lies on.
fn filesystem<'a>(mounts: &'a str, directory: &Path) -> Option<&'a str> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let (_, kind) = mounted
        .filter(|(point, _)| directory.starts_with(point))
        .max_by_key(|(point, _)| point.len())?;
    Some(kind)
}

async fn run_cell(
    cell: Cell,
    clusters: &[Cluster],
    settings: Settings,
    rounds: usize,
    failed: &mut usize,
    out: &mut (dyn Write + Send),
) -> Result<Row> {
    let mut measured = vec![Vec::with_capacity(rounds); clusters.len()];
    for round in 0..rounds {
        // Who is always first is measured after another load than who is second.
        let mut order: Vec<_> = clusters.iter().zip(&mut measured).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (cluster, measured) in order {
            let (figures, failures) = round::run(cluster, cell, settings).await?;
            *failed += failures.count;
            tell(cell, cluster.system, &failures, out)?;
            measured.push(figures);
        }
    }
    let of = |system| {
        let position = clusters
            .iter()
            .position(|cluster| cluster.system == system)?;
        Some(measured[position].as_slice())
    };
    let (tenure, before, etcd) = (of(System::Tenure), of(System::Before), of(System::Etcd));
    Ok(Row::new(cell.name, cell.clients, tenure, before, etcd))
}

fn tell(cell: Cell, system: System, failures: &Failures, out: &mut dyn Write) -> io::Result<()> {
    if failures.count == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "**** {}: {} requests to {system} FAILED",
        cell.name, failures.count
    )?;
    failures
        .examples
        .iter()
        .try_for_each(|example| writeln!(out, "****   {example}"))
}

fn report(
    arguments: &Arguments,
    contenders: &[Contender],
    cells: Vec<Row>,
    failed: usize,
) -> Report {
    let version = |system| {
        let contender = contenders
            .iter()
            .find(|contender| contender.system == system)?;
        Some(contender.version.clone())
    };
    Report {
        tenure: version(System::Tenure),
        before: version(System::Before),
        etcd: version(System::Etcd),
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        keys: arguments.keys,
        value_bytes: arguments.value_bytes,
        connections_per_node: arguments.connections,
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        cells,
        failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_decides_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw 0 0\n";
        assert_eq!(filesystem(mounts, Path::new("/var/lib")), Some("ext4"));
        assert_eq!(filesystem(mounts, Path::new("/tmp/x")), Some("tmpfs"));
        assert_eq!(filesystem(mounts, Path::new("/tmp/disk/x")), Some("xfs"));
        assert_eq!(filesystem(mounts, Path::new("/tmpfoo")), Some("ext4"));
    }
}

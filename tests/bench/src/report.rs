//! The figures as a table for people and as JSON for programs.

use std::fmt;

use serde::Serialize;

use crate::figures::{Figures, standard_error};

/// Everything a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) tenure: Option<String>,
    pub(crate) before: Option<String>,
    pub(crate) etcd: Option<String>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) keys: usize,
    pub(crate) value_bytes: usize,
    pub(crate) connections_per_node: usize,
    pub(crate) cores: usize,
    pub(crate) cells: Vec<Row>,
    /// Requests of either system that failed.
    pub(crate) failed: usize,
}

/// The medians of one cell.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) clients: usize,
    pub(crate) tenure: Option<Figures>,
    pub(crate) before: Option<Figures>,
    pub(crate) etcd: Option<Figures>,
    /// tenure's figures divided by etcd's.
    pub(crate) ratio: Option<Figures>,
    /// tenure's figures divided by those of the other build, round by round.
    pub(crate) paired: Option<Paired>,
}

/// What two builds of tenure came to beside each other.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Paired {
    /// Geometric means of the ratios of the rounds.
    pub(crate) ratio: Figures,
    /// Standard error of the ratio of operations per second, as a part of it.
    pub(crate) error: Option<f64>,
}

impl Paired {
    fn new(rounds: &[Figures], others: &[Figures]) -> Self {
        let pairs = rounds.iter().zip(others);
        let per_second: Vec<_> = pairs
            .map(|(own, other)| own.per_second / other.per_second)
            .collect();
        Self {
            ratio: Figures::paired(rounds, others),
            error: standard_error(&per_second),
        }
    }
}

impl Row {
    /// The row of rounds measured in turn.
    pub(crate) fn new(
        name: &'static str,
        clients: usize,
        tenure: Option<&[Figures]>,
        before: Option<&[Figures]>,
        etcd: Option<&[Figures]>,
    ) -> Self {
        let paired = tenure
            .zip(before)
            .map(|(own, other)| Paired::new(own, other));
        let [tenure, before, etcd] = [tenure, before, etcd].map(|it| it.map(Figures::median));
        let ratio = tenure.zip(etcd).map(|(tenure, etcd)| tenure.over(&etcd));
        Self {
            name,
            clients,
            tenure,
            before,
            etcd,
            ratio,
            paired,
        }
    }
}

/// The heading of the rows.
pub(crate) struct Heading;

impl fmt::Display for Heading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<11}{:<8}{:>10}{:>10}{:>10}{:>14}{:>17}{:>10}",
            "cell", "", "per s", "p50 ms", "p99 ms", "CPU s / 1000", "RSS MiB sum/max", "gen. CPU"
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = self.name;
        let systems = [
            ("tenure", &self.tenure),
            ("before", &self.before),
            ("etcd", &self.etcd),
        ];
        for (system, figures) in systems {
            let Some(figures) = figures else { continue };
            let memory = format!(
                "{:.0}/{:.0}",
                figures.server_rss_sum_mib, figures.server_rss_max_mib
            );
            writeln!(
                f,
                "{name:<11}{system:<8}{:>10.0}{:>10.2}{:>10.2}{:>14.4}{memory:>17}{:>10.2}",
                figures.per_second,
                figures.p50_ms,
                figures.p99_ms,
                figures.server_cpu_s_per_1000,
                figures.generator_cores,
            )?;
            name = "";
        }
        if let Some(paired) = &self.paired {
            write_ratio(f, "paired", &paired.ratio)?;
            match paired.error {
                Some(error) => writeln!(f, "   per s +-{:.1} %", error * 100.0)?,
                None => writeln!(f)?,
            }
        }
        if let Some(ratio) = &self.ratio {
            write_ratio(f, "ratio", ratio)?;
            writeln!(f)?;
        }
        Ok(())
    }
}

fn write_ratio(f: &mut fmt::Formatter<'_>, name: &str, ratio: &Figures) -> fmt::Result {
    write!(
        f,
        "{:<11}{name:<8}{:>10}{:>10}{:>10}{:>14}{:>17}",
        "",
        times(ratio.per_second),
        times(ratio.p50_ms),
        times(ratio.p99_ms),
        times(ratio.server_cpu_s_per_1000),
        times(ratio.server_rss_sum_mib),
    )
}

fn times(ratio: f64) -> String {
    format!("x{ratio:.2}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let systems = [
            ("tenure", &self.tenure),
            ("before", &self.before),
            ("etcd", &self.etcd),
        ];
        for (system, version) in systems {
            if let Some(version) = version {
                writeln!(f, "{system}: three nodes, {version}")?;
            }
        }
        writeln!(
            f,
            "{} cores, {} connections per node, {} keys, values of {} bytes; \
             medians of {} rounds of {} s",
            self.cores,
            self.connections_per_node,
            self.keys,
            self.value_bytes,
            self.rounds,
            self.seconds,
        )?;
        writeln!(f, "\n{Heading}")?;
        self.cells.iter().try_for_each(|row| write!(f, "{row}"))?;
        if self.etcd.is_some() && self.tenure.is_some() {
            writeln!(
                f,
                "\nratio: tenure / etcd. Quote these; the absolutes are this machine's."
            )?;
        }
        if self.before.is_some() {
            writeln!(
                f,
                "\npaired: tenure / before, geometric means over rounds measured in turn"
            )?;
        }
        writeln!(f, "requests that failed: {}", self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(per_second: f64) -> Figures {
        Figures {
            per_second,
            p50_ms: 1.0,
            p99_ms: 2.0,
            server_cpu_s_per_1000: 0.1,
            server_rss_sum_mib: 90.0,
            server_rss_max_mib: 31.0,
            generator_cores: 0.5,
        }
    }

    #[test]
    fn a_cell_of_both_systems_ends_with_their_ratio() {
        let (tenure, etcd) = ([figures(300.0)], [figures(100.0)]);
        let text = Row::new("put64", 64, Some(&tenure), None, Some(&etcd)).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("put64") && lines[0].contains("300"));
        assert!(lines[2].contains("ratio") && lines[2].contains("x3.00"));
    }

    #[test]
    fn a_cell_of_one_system_has_no_ratio() {
        let text = Row::new("put64", 64, Some(&[figures(300.0)]), None, None).to_string();
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn two_builds_are_compared_round_by_round() {
        let own = [figures(100.0), figures(400.0)];
        let other = [figures(50.0), figures(200.0)];
        let text = Row::new("put64", 64, Some(&own), Some(&other), None).to_string();
        let last = text.lines().last().unwrap();
        assert!(last.contains("paired") && last.contains("x2.00"), "{text}");
        assert!(last.ends_with("+-0.0 %"), "{text}");
    }
}

//! One round of one cell on one cluster: clients in a closed loop, and what it took the servers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::{task::JoinSet, time::timeout};
use tonic::Status;

use crate::{
    cell::{Cell, Load},
    cluster::Cluster,
    figures::Figures,
    latency::Latencies,
    process,
    window::Window,
    work::{
        FanOut, Granter, KeySpace, Locker, Mixer, Putter, Ranger, Renewer, Resolvers, Revoker,
        Step, Swapper, Work,
    },
};

/// How long requests may stay unanswered when a round is over, before they count as failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Failed requests of one client in one round after which it stops: enough to show a pattern, too
/// few to turn a dead server into a flood.
const FAILURES_PER_CLIENT_MAX: usize = 16;
/// Failures that are shown in full.
const EXAMPLES_MAX: usize = 3;
/// Revocations are faster than grants: preparing them takes this much longer than the round.
const PREPARATION_SHARE: f64 = 1.5;
/// Taking back what a round left may take this many times the round.
const FINISH_SHARE: u32 = 10;
/// Clients that write the key space before the first cell.
const FILL_CLIENTS: usize = 64;

/// Requests that failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures {
    pub(crate) count: usize,
    pub(crate) examples: Vec<String>,
}

impl Failures {
    pub(crate) fn add(&mut self, status: &Status) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples
                .push(format!("{:?}: {}", status.code(), status.message()));
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES_MAX);
    }
}

/// What clients measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) latencies: Latencies,
    pub(crate) failures: Failures,
}

impl Tally {
    pub(crate) fn merge(&mut self, other: Self) {
        self.latencies.merge(other.latencies);
        self.failures.merge(other.failures);
    }
}

/// How long a round is, and on what keys it works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    pub(crate) space: KeySpace,
}

/// Runs one round.
pub(crate) async fn run(
    cluster: &Cluster,
    cell: Cell,
    settings: Settings,
) -> Result<(Figures, Failures)> {
    let leader = cluster.leader().await?;
    let (connections, space) = (cluster.connections(), settings.space);
    let channel = |client| connections.of_client(client, cell.aim, leader);
    let clients = 0..cell.clients;
    let round = Round { cluster, settings };
    match cell.load {
        Load::Put => {
            round
                .drive(clients.map(|n| Putter::new(channel(n), space, n)))
                .await
        }
        Load::LinearizableRange | Load::SerializableRange => {
            let serializable = cell.load == Load::SerializableRange;
            round
                .drive(clients.map(|n| Ranger::new(channel(n), space, n, serializable)))
                .await
        }
        Load::Mix => {
            round
                .drive(clients.map(|n| Mixer::new(channel(n), space, n)))
                .await
        }
        Load::Swap => {
            round
                .drive(clients.map(|n| Swapper::new(channel(n), space, n)))
                .await
        }
        Load::Grant => round.drive(clients.map(|n| Granter::new(channel(n)))).await,
        Load::KeepAlive => round.drive(clients.map(|n| Renewer::new(channel(n)))).await,
        Load::Revoke => round.drive(clients.map(|n| Revoker::new(channel(n)))).await,
        Load::Watch => {
            let opening = FanOut::open(cell, connections, leader, space);
            let fan_out = timeout(ANSWER_TIMEOUT, opening)
                .await
                .context("opening watches")??;
            round.observe(|window| fan_out.run(window)).await
        }
        Load::Lock => {
            round
                .drive(clients.map(|n| Locker::new(cluster.system, channel(n))))
                .await
        }
        Load::Ready | Load::Crash => {
            let opening = Resolvers::open(cluster.system, cell, connections, leader);
            let resolvers = timeout(ANSWER_TIMEOUT, opening)
                .await
                .context("opening resolvers")??;
            round.observe(|window| resolvers.run(window)).await
        }
    }
}

/// Writes every key once.
pub(crate) async fn fill(cluster: &Cluster, space: KeySpace) -> Result<()> {
    let leader = cluster.leader().await?;
    let writes = (0..FILL_CLIENTS).map(|client| {
        let channel = cluster
            .connections()
            .of_client(client, crate::cell::Aim::Leader, leader);
        let mut putter = Putter::new(channel, space, client);
        async move {
            for number in (client..space.keys).step_by(FILL_CLIENTS) {
                putter.put_number(number).await?;
            }
            Ok::<_, Status>(())
        }
    });
    futures::future::try_join_all(writes)
        .await
        .context("writing the key space")?;
    Ok(())
}

struct Round<'a> {
    cluster: &'a Cluster,
    settings: Settings,
}

impl Round<'_> {
    async fn drive<W: Work>(&self, works: impl Iterator<Item = W>) -> Result<(Figures, Failures)> {
        let whole = self.settings.warm_up + self.settings.measured;
        let preparation = whole.mul_f64(PREPARATION_SHARE);
        let until = Instant::now() + preparation;
        let mut tally = Tally::default();
        let prepared = all(
            works,
            preparation + ANSWER_TIMEOUT,
            &mut tally,
            |mut work| async move {
                let result = work.prepare(until).await;
                (work, failed(result))
            },
        );
        let works = prepared.await;

        let window = Window::after(self.settings.warm_up, self.settings.measured);
        let metered = self.meter(&window);
        let driven = all(
            works.into_iter(),
            whole + ANSWER_TIMEOUT,
            &mut tally,
            |work| client(work, window.clone()),
        );
        let (used, works) = tokio::join!(metered, driven);
        let used = used?;

        let budget = whole * FINISH_SHARE + ANSWER_TIMEOUT;
        all(
            works.into_iter(),
            budget,
            &mut tally,
            |mut work| async move {
                let result = work.finish().await;
                (work, failed(result))
            },
        )
        .await;
        self.figures(tally, &used)
    }

    /// Runs a load that keeps the time by itself.
    async fn observe<F: Future<Output = Tally>>(
        &self,
        run: impl FnOnce(Window) -> F,
    ) -> Result<(Figures, Failures)> {
        let window = Window::after(self.settings.warm_up, self.settings.measured);
        let budget = self.settings.warm_up + self.settings.measured + ANSWER_TIMEOUT;
        let running = timeout(budget, run(window.clone()));
        let (used, tally) = tokio::join!(self.meter(&window), running);
        let tally = tally.unwrap_or_else(|_| unanswered(1));
        self.figures(tally, &used?)
    }

    /// What was used while the window was open.
    async fn meter(&self, window: &Window) -> Result<Used> {
        window.opened().await;
        let (servers, own) = (self.cluster.cpu_seconds()?, process::cpu_seconds("self")?);
        window.closed().await;
        let seconds = Instant::now()
            .min(window.to)
            .duration_since(window.from)
            .as_secs_f64();
        Ok(Used {
            seconds,
            servers: self.cluster.cpu_seconds()? - servers,
            own: process::cpu_seconds("self")? - own,
        })
    }

    fn figures(&self, tally: Tally, used: &Used) -> Result<(Figures, Failures)> {
        let operations = tally.latencies.len() as f64;
        let [p50_ms, p99_ms] = tally.latencies.percentiles_ms([0.5, 0.99]);
        let resident = self.cluster.resident_bytes()?;
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let figures = Figures {
            per_second: operations / used.seconds,
            p50_ms,
            p99_ms,
            server_cpu_s_per_1000: used.servers * 1000.0 / operations,
            server_rss_sum_mib: mebibytes(resident.iter().sum()),
            server_rss_max_mib: mebibytes(resident.into_iter().max().unwrap_or(0)),
            generator_cores: used.own / used.seconds,
        };
        Ok((figures, tally.failures))
    }
}

/// CPU seconds within the window, and how long it was.
struct Used {
    seconds: f64,
    servers: f64,
    own: f64,
}

/// One client: a step, and when it is answered the next, until the window ends.
async fn client<W: Work>(mut work: W, window: Window) -> (W, Tally) {
    let mut tally = Tally::default();
    let mut started = Instant::now();
    while window.is_open(started) && tally.failures.count < FAILURES_PER_CLIENT_MAX {
        let result = work.step().await;
        let ended = Instant::now();
        match result {
            Ok(Step::Done) if window.counts(ended) => tally.latencies.add(ended - started),
            Ok(Step::Done) => {}
            Ok(Step::Exhausted) => window.cut(),
            Err(status) => tally.failures.add(&status),
        }
        started = ended;
    }
    (work, tally)
}

/// Lets all clients act at once, and returns those that were done within `budget`.
async fn all<W, F>(
    works: impl Iterator<Item = W>,
    budget: Duration,
    tally: &mut Tally,
    act: impl Fn(W) -> F,
) -> Vec<W>
where
    W: Send + 'static,
    F: Future<Output = (W, Tally)> + Send + 'static,
{
    let mut acting = JoinSet::new();
    for work in works {
        acting.spawn(act(work));
    }
    let mut done = Vec::with_capacity(acting.len());
    let collecting = async {
        while let Some(Ok((work, own))) = acting.join_next().await {
            tally.merge(own);
            done.push(work);
        }
    };
    // Cancel-safe: what is not collected yet is counted below.
    _ = timeout(budget, collecting).await;
    if !acting.is_empty() {
        tally.merge(unanswered(acting.len()));
    }
    done
}

fn unanswered(clients: usize) -> Tally {
    let mut tally = Tally::default();
    let what = format!(
        "a request was not answered within {} s",
        ANSWER_TIMEOUT.as_secs()
    );
    (0..clients).for_each(|_| {
        tally
            .failures
            .add(&Status::deadline_exceeded(what.as_str()))
    });
    tally
}

fn failed(result: Result<(), Status>) -> Tally {
    let mut tally = Tally::default();
    if let Err(status) = result {
        tally.failures.add(&status);
    }
    tally
}

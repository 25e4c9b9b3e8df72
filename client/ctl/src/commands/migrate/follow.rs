//! The course of a move that keeps revisions: archive, wait for the destination, replay, verify.
//!
//! The folder is an archive. It is filled from the beginning, so that the source may compact what
//! the destination has not seen, however long the restore takes.

use std::{path::Path, time::Duration};

use anyhow::anyhow;
use tenure::{Client, ErrorKind, KeyRange, Revision};
use tokio::{
    sync::watch,
    time::{Instant, interval, sleep, timeout},
};

use super::{Move, replay::Replay, verify};
use crate::{
    commands::{
        archive::{Folder, Recorder, RecorderOptions},
        print_message,
        signals::Signals,
    },
    failure::Failure,
    replication::{Head, Lag, Role, is_passing},
};

/// Files of changes, as `archive` makes them.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Further snapshots are of no use to a move.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(365 * 24 * 3600);
/// How often the destination is asked whether it is there. Leases run from its start on, and are
/// renewed as soon as it answers: the shortest ones last a few seconds.
const ASK_INTERVAL: Duration = Duration::from_millis(500);
/// How often progress is told.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);
/// How often it is looked whether everything is copied.
const LEVEL_INTERVAL: Duration = Duration::from_millis(500);
/// How far the destination may be behind when it is ready: less than it takes to stop the writers.
const READY_LAG_MAX: Duration = Duration::from_secs(2);
/// How often leases without keys are compared.
const LEASES_INTERVAL: Duration = Duration::from_secs(5);

pub(super) async fn run(
    plan: Move<'_>,
    directory: &Path,
    mut signals: Signals,
) -> Result<(), Failure> {
    let head = Head::follow(&plan.source, &KeyRange::all());
    let options = RecorderOptions {
        segment_bytes: SEGMENT_BYTES,
        snapshot_interval: SNAPSHOT_INTERVAL,
    };
    let folder = Folder::lock(directory)?;
    let mut recorder = Recorder::begin(&plan.source, folder, options).await?;
    let reader = Folder::read(recorder.folder().path());
    let (durable, seen) = watch::channel(recorder.last());
    tokio::select! {
        // Not cancel safe, and need not be: when one ends, so does the command.
        outcome = recorder.run(None, &durable, None) => outcome,
        outcome = copy(&plan, &reader, &head, seen, &mut signals) => outcome,
    }
}

/// Copies from the folder to the destination.
async fn copy(
    plan: &Move<'_>,
    folder: &Folder,
    head: &Head,
    mut durable: watch::Receiver<Revision>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let Some(destination) = &plan.destination else {
        let text = "the folder is filled until this command ends; give --to to go on";
        print_message(text);
        _ = signals.or_signal(std::future::pending::<()>()).await;
        return Ok(());
    };
    advise(plan, folder)?;
    let begun = signals.or_signal(arrival(plan, destination)).await;
    let Ok(at) = begun else {
        return Err(Failure::Reported);
    };
    let at = at?;
    let mut replay = Replay::begin(plan, destination, folder, at).await?;
    let mut course = Course::new(plan, head);
    loop {
        let is_behind = replay.at() < *durable.borrow_and_update();
        if is_behind {
            // Not interrupted: a revision is replayed whole.
            replay.step().await?;
        }
        if course.goes_on(&replay).await? == Next::End {
            return Ok(());
        }
        let pause = if is_behind {
            Duration::ZERO
        } else {
            LEVEL_INTERVAL
        };
        let waited = signals.or_signal(timeout(pause, durable.changed())).await;
        if waited.is_err() {
            if course.is_ending {
                return Err(Failure::Reported);
            }
            print_message("ending: the rest is copied, and both sides are compared");
            course.is_ending = true;
        }
    }
}

/// Whether the copy goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Copy,
    End,
}

/// What is done between revisions.
struct Course<'a> {
    plan: &'a Move<'a>,
    head: &'a Head,
    /// Whether the destination was close enough to switch, and verified, once.
    is_ready: bool,
    /// Whether the command ends once everything is copied and verified.
    is_ending: bool,
    look_at: Instant,
    report_at: Instant,
    leases_at: Instant,
}

impl<'a> Course<'a> {
    fn new(plan: &'a Move<'a>, head: &'a Head) -> Self {
        let now = Instant::now();
        Self {
            plan,
            head,
            is_ready: false,
            is_ending: plan.args.once,
            look_at: now,
            report_at: now + REPORT_INTERVAL,
            leases_at: now,
        }
    }

    async fn goes_on(&mut self, replay: &Replay<'_>) -> Result<Next, Failure> {
        if Instant::now() >= self.leases_at {
            replay.leases().reconcile().await?;
            self.leases_at = Instant::now() + LEASES_INTERVAL;
        }
        if Instant::now() >= self.report_at {
            let at = replay.at();
            let lag = self.head.lag(at);
            print_message(format_args!("copied revision {}, {lag}", at.get()));
            self.report_at = Instant::now() + REPORT_INTERVAL;
        }
        if Instant::now() < self.look_at || (self.is_ready && !self.is_ending) {
            return Ok(Next::Copy);
        }
        self.look_at = Instant::now() + LEVEL_INTERVAL;
        let head = self.head.read().await?;
        let lag = self.head.lag(replay.at());
        // While it is written to, the source is always a little ahead.
        let waits = if self.is_ending {
            replay.at() < head
        } else {
            lag.time > READY_LAG_MAX
        };
        if waits {
            return Ok(Next::Copy);
        }
        match self.verify(replay, lag).await {
            // The source was compacted beyond what is copied: it is not as close as it seemed.
            Err(Failure::Call(error)) if error.kind() == ErrorKind::Compacted => {
                return Ok(Next::Copy);
            }
            outcome => outcome?,
        }
        Ok(if self.is_ending {
            Next::End
        } else {
            Next::Copy
        })
    }

    async fn verify(&mut self, replay: &Replay<'_>, lag: Lag) -> Result<(), Failure> {
        replay.leases().reconcile().await?;
        let at = replay.at();
        let hash = verify::hashes(&self.plan.source, replay.destination(), at).await?;
        print_message(format_args!(
            "verified: HashKV {hash} of both at revision {}, {} leases",
            at.get(),
            replay.leases().count()
        ));
        let text = if self.is_ending {
            self.farewell(at)
        } else {
            self.ready(lag)
        };
        self.is_ready = true;
        self.plan.output.say(text.as_bytes())
    }

    fn ready(&self, lag: Lag) -> String {
        format!(
            "Ready to switch, {lag}. Stop what writes to {}, end this command with Ctrl-C: it \
             copies the rest and verifies. Then point the clients to {}.\n",
            self.plan.endpoints(Role::Source),
            self.plan.endpoints(Role::Destination)
        )
    }

    fn farewell(&self, at: Revision) -> String {
        let (from, to) = (
            self.plan.endpoints(Role::Source),
            self.plan.endpoints(Role::Destination),
        );
        format!(
            "Moved to {to} at revision {}: what was written to {from} before is there.\nThe way \
             back is the same: migrate --from {to} --to {from}, with another --dir, into a \
             cluster that is restored from it.\n",
            at.get()
        )
    }
}

/// Says how the destination is restored.
fn advise(plan: &Move<'_>, folder: &Folder) -> Result<(), Failure> {
    let snapshots = folder.snapshots()?;
    let (revision, file) = snapshots
        .last()
        .ok_or_else(|| anyhow!("{} holds no snapshot", folder.path().display()))?;
    print_message(format_args!(
        "waiting for {}. If it is not restored yet: run `tenurectl snapshot restore {} \
         --same-revision --data-dir …` for each member (for etcd `etcdutl snapshot restore`), and \
         start them. It begins at revision {}, and no client may use it yet",
        plan.endpoints(Role::Destination),
        file.display(),
        revision.0
    ));
    Ok(())
}

/// Waits until the destination answers. Returns its revision.
///
/// It may take as long as the operator takes; the command can be ended.
async fn arrival(plan: &Move<'_>, destination: &Client) -> Result<Revision, Failure> {
    let mut report = interval(REPORT_INTERVAL);
    report.reset();
    loop {
        match destination.get("\0").count_only().await {
            Ok(answer) => return Ok(answer.revision()),
            Err(error) if error.is_retryable() || is_passing(&error) => {
                if timeout(Duration::ZERO, report.tick()).await.is_ok() {
                    let endpoints = plan.endpoints(Role::Destination);
                    print_message(format_args!("still waiting for {endpoints}: {error}"));
                }
            }
            Err(error) => return Err(error.into()),
        }
        sleep(ASK_INTERVAL).await;
    }
}

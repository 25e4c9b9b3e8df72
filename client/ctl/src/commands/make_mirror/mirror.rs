//! The course of a mirror: the keys that exist, then every change, then, if wanted, a comparison.

use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use tenure::{Client, Delete, ErrorKind, KeyRange, Op, Revision};
use tokio::time::{Instant, interval, timeout};

use super::{
    REPORT_INTERVAL,
    base::Batch,
    progress::Progress,
    writer::{Count, Writer},
};
use crate::{
    commands::print_message,
    failure::Failure,
    quoting::quote,
    replication::{
        Head, LeaseCopy, Mapping, Pages, RevisionChanges, by_revision, compare, read_patiently,
    },
};

/// How long a watch is quiet before it is looked whether everything is copied.
const QUIET: Duration = Duration::from_millis(200);
/// How often it is looked whether everything is copied while changes arrive.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How far a mirror that goes on may be behind when it reports.
const READY_LAG_MAX: Duration = Duration::from_secs(2);
/// How often leases without keys are compared.
const LEASES_INTERVAL: Duration = Duration::from_secs(5);
/// Copies of all keys in a row without a change copied after any: the source compacts faster than
/// its keys are copied.
const BASES_IN_A_ROW_MAX: u32 = 5;

/// What a mirror does.
#[derive(Debug, Clone)]
pub(in crate::commands) struct Plan {
    /// The keys of the source.
    pub(in crate::commands) range: KeyRange,
    pub(in crate::commands) mapping: Mapping,
    /// Only changes from this revision on.
    pub(in crate::commands) changes_from: Option<i64>,
    pub(in crate::commands) ops_max: usize,
    /// Keep the progress in the destination, whose prefix is the mirror's alone.
    pub(in crate::commands) resume: bool,
    /// Copy leases, too.
    pub(in crate::commands) leases: bool,
    /// Compare once everything is copied.
    pub(in crate::commands) verify: bool,
    /// End then.
    pub(in crate::commands) once: bool,
}

/// Copies from a source to a destination.
#[derive(Debug)]
pub(in crate::commands) struct Mirror {
    pub(super) source: Client,
    pub(super) destination: Client,
    pub(super) plan: Plan,
    pub(super) writer: Writer,
    pub(super) leases: Option<LeaseCopy>,
    /// The source.
    pub(super) cluster_id: u64,
    /// The last key of the source that was copied with the others.
    pub(super) last_source_key: Option<Bytes>,
    head: Head,
    copied: Revision,
    /// Whether everything was copied once, and compared if wanted.
    is_reported: bool,
}

impl Mirror {
    pub(in crate::commands) fn new(source: &Client, destination: &Client, plan: Plan) -> Self {
        Self {
            source: source.clone(),
            destination: destination.clone(),
            writer: Writer::new(destination, plan.ops_max),
            leases: plan.leases.then(|| LeaseCopy::start(source, destination)),
            cluster_id: 0,
            last_source_key: None,
            head: Head::follow(source, &plan.range),
            copied: Revision::default(),
            is_reported: false,
            plan,
        }
    }

    pub(in crate::commands) fn count(&self) -> Count {
        self.writer.count()
    }

    /// From now on ends once everything is copied, and compares again.
    pub(in crate::commands) fn end_once(&mut self) {
        self.plan.once = true;
        self.is_reported = false;
    }

    /// Copies until it fails, or once if that is the plan.
    pub(in crate::commands) async fn run(&mut self) -> Result<(), Failure> {
        self.refuse_loop().await?;
        let mut stored = None;
        if self.plan.resume {
            let key = Progress::key(self.cluster_id, &self.plan.mapping);
            stored = self.writer.keep_progress(key).await?;
            if stored.is_none() {
                self.refuse_used().await?;
            }
        }
        let mut begin = stored;
        let mut bases = 0;
        loop {
            let before = self.copied;
            let outcome = self.round(begin.take()).await;
            let Err(Failure::Call(error)) = outcome else {
                return outcome;
            };
            bases = if self.copied > before { 1 } else { bases + 1 };
            let may_begin_anew = self.plan.resume && error.kind() == ErrorKind::Compacted;
            if !may_begin_anew || bases > BASES_IN_A_ROW_MAX {
                return Err(Failure::Call(error));
            }
            print_message(format_args!(
                "the source has compacted changes that are not copied: all keys are compared, and \
                 copied where they differ"
            ));
        }
    }

    async fn round(&mut self, begin: Option<Progress>) -> Result<(), Failure> {
        self.copied = match (self.plan.changes_from, begin) {
            (Some(first), _) => Revision::new(first - 1),
            (None, Some(progress)) => {
                let revision = Revision::new(progress.revision);
                match progress.next_key() {
                    Some(next) => self.copy_base(revision, Some(next)).await?,
                    None => revision,
                }
            }
            (None, None) => self.copy_base(Revision::default(), None).await?,
        };
        self.follow().await
    }

    /// Copies changes, and reports once there are no more.
    async fn follow(&mut self) -> Result<(), Failure> {
        let start = Revision::new(self.copied.get() + 1);
        let mut watcher = read_patiently(async || {
            let watch = self.source.watch(self.plan.range.clone());
            watch
                .start_revision(start)
                .fragment()
                .require_leader()
                .await
        })
        .await?;
        let mut report = interval(REPORT_INTERVAL);
        report.reset();
        let mut leases_due = Instant::now();
        let mut look_at = Instant::now() + LOOK_INTERVAL;
        loop {
            // Cancel safe: an update stays in the watcher until it is returned.
            let next = timeout(QUIET, watcher.next()).await;
            let is_quiet = next.is_err();
            if let Ok(update) = next {
                let ended = || anyhow!("the source ended the watch");
                for changes in by_revision(update.ok_or_else(ended)??) {
                    self.copy_changes(changes).await?;
                }
            }
            if let Some(leases) = &self.leases
                && Instant::now() >= leases_due
            {
                leases.reconcile().await?;
                leases_due = Instant::now() + LEASES_INTERVAL;
            }
            if timeout(Duration::ZERO, report.tick()).await.is_ok() {
                self.print_lag();
            }
            if !self.is_reported && (is_quiet || Instant::now() >= look_at) {
                look_at = Instant::now() + LOOK_INTERVAL;
                if self.is_close().await? {
                    self.report().await?;
                    self.is_reported = true;
                    if self.plan.once {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Copies one revision, in one transaction unless it is too large for one.
    async fn copy_changes(&mut self, changes: RevisionChanges) -> Result<(), Failure> {
        let mut batch = Batch::default();
        let before = Progress::copied(self.copied);
        for event in &changes.events {
            let bytes = event.key().len() + event.value().len();
            if !batch.has_room(bytes, self.writer.ops_max()) {
                // The rest is to follow: after a crash here the whole revision is copied again.
                self.writer.write(batch.take(), &before).await?;
            }
            let op = if event.is_delete() {
                let key = self.plan.mapping.key(event.key());
                Op::from(Delete::new(key))
            } else {
                self.put(event.kv()).await?
            };
            batch.push(op, bytes);
        }
        let progress = Progress::copied(changes.revision);
        self.writer.write(batch.take(), &progress).await?;
        self.copied = changes.revision;
        Ok(())
    }

    /// Whether it is time to report: everything is copied or, for a mirror that goes on, as good as
    /// everything, because a source that is written to is always a little ahead.
    async fn is_close(&self) -> Result<bool, Failure> {
        if self.is_level().await? {
            return Ok(true);
        }
        let lag = self.head.lag(self.copied);
        Ok(!self.plan.once && lag.time <= READY_LAG_MAX)
    }

    /// Whether the source has no change that is not copied.
    async fn is_level(&self) -> Result<bool, Failure> {
        let head = self.head.read().await?;
        if self.copied >= head {
            return Ok(true);
        }
        if self.plan.range == KeyRange::all() {
            return Ok(false);
        }
        // Changes of other keys are not delivered. Nothing of the range changed if no key was
        // written after what is copied, and none is gone.
        let range = &self.plan.range;
        let count = async |revision| {
            let counted = async || {
                let get = self.source.get(range.clone()).count_only();
                get.revision(revision).await
            };
            read_patiently(counted).await.map(|found| found.count())
        };
        let written = read_patiently(async || {
            let get = self.source.get(range.clone()).revision(head).keys_only();
            let after = Revision::new(self.copied.get() + 1);
            get.min_mod_revision(after).limit(1).await
        })
        .await?;
        Ok(written.kvs().is_empty() && count(head).await? == count(self.copied).await?)
    }

    fn print_lag(&self) {
        let (copied, lag) = (self.copied, self.head.lag(self.copied));
        let most = if self.plan.range == KeyRange::all() {
            ""
        } else {
            // Changes of other keys count, too.
            "at most "
        };
        print_message(format_args!(
            "copied revision {}, {most}{lag}",
            copied.get()
        ));
    }

    /// Says that everything is copied, and compares both sides if that is the plan.
    async fn report(&mut self) -> Result<(), Failure> {
        if let Some(leases) = &self.leases {
            leases.reconcile().await?;
        }
        if self.plan.verify {
            self.compare().await?;
        }
        let copied = self.copied.get();
        print_message(format_args!(
            "all changes up to revision {copied} are copied"
        ));
        Ok(())
    }

    /// Compares the source as of the revision that is copied with the destination, to which only
    /// this mirror writes, and it does not now.
    async fn compare(&self) -> Result<(), Failure> {
        let mut source = Pages::new(&self.source, &self.plan.range, self.copied);
        let to = KeyRange::prefix(&self.plan.mapping.to);
        let mut destination = Pages::new(&self.destination, &to, Revision::default()).moving();
        let with_leases = self.leases.is_some();
        let found = compare(
            &mut source,
            &mut destination,
            &self.plan.mapping,
            with_leases,
            self.writer.key(),
        );
        let found = found.await?;
        if found.different > 0 {
            let named = found.named.join("\n  ");
            let (equal, different) = (found.equal, found.different);
            return Err(anyhow!(
                "{different} keys differ, {equal} are equal, at revision {} of the source:\n  \
                 {named}",
                self.copied.get()
            )
            .into());
        }
        let leases = match &self.leases {
            Some(leases) => format!(" with {} leases", leases.count()),
            None => String::new(),
        };
        print_message(format_args!(
            "verified: {} keys{leases} are equal at revision {} of the source",
            found.equal,
            self.copied.get()
        ));
        Ok(())
    }

    /// Refuses to copy a range of a cluster into itself, which would never end.
    async fn refuse_loop(&mut self) -> Result<(), Failure> {
        let id = async |client: &Client, key: &Bytes| {
            let read = async || client.get(KeyRange::key(key)).count_only().await;
            read_patiently(read)
                .await
                .map(|found| found.header().cluster_id())
        };
        let Mapping { from, to } = &self.plan.mapping;
        // Any key that may be read tells the cluster.
        let probe = |prefix: &Bytes| KeyRange::prefix(prefix).start().clone();
        self.cluster_id = id(&self.source, &probe(from)).await?;
        let other = id(&self.destination, &probe(to)).await?;
        if self.cluster_id == other && (from.starts_with(to) || to.starts_with(from)) {
            return Err(anyhow!(
                "source and destination are one cluster, and {} and {} overlap",
                quote(from),
                quote(to)
            )
            .into());
        }
        Ok(())
    }

    /// Refuses a destination that has keys already: a mirror that resumes deletes there what the
    /// source does not have.
    async fn refuse_used(&self) -> Result<(), Failure> {
        let range = KeyRange::prefix(&self.plan.mapping.to);
        let found = read_patiently(async || {
            let get = self.destination.get(range.clone()).limit(1);
            get.keys_only().await
        })
        .await?;
        match found.first() {
            None => Ok(()),
            Some(kv) => Err(anyhow!(
                "the destination has {} keys below {}, such as {}: a mirror that can be resumed \
                 needs a prefix of its own",
                found.count(),
                quote(&self.plan.mapping.to),
                quote(kv.key())
            )
            .into()),
        }
    }
}

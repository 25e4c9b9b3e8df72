//! `archive restore`: the snapshot file of a revision or a time.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::anyhow;
use tenure_backup::{
    Revision,
    archive::{PointError, point_in_time},
    file::{Hasher, SnapshotFile},
};

use super::inspect::{KnownSnapshot, Opened, opened, time};
use crate::{commands::snapshot, failure::Failure, output::Output};

pub(super) fn run(
    output: Output,
    directory: &Path,
    file: &Path,
    to_revision: Option<i64>,
    to_time: Option<&str>,
) -> Result<(), Failure> {
    let archive = opened(directory)?;
    let to = match (to_revision, to_time) {
        (Some(revision), _) => Revision(revision),
        (None, Some(text)) => at_time(&archive, text)?,
        (None, None) => last(&archive)?,
    };
    let mut candidates: Vec<&KnownSnapshot> = archive.snapshots.iter().collect();
    // The nearest one before needs the least to be read; one after may hold the revision in its
    // history.
    candidates.sort_by_key(|known| {
        let last = known.span.last;
        (last > to, last.0.abs_diff(to.0))
    });
    let mut reasons = Vec::new();
    for known in candidates {
        let source = snapshot::open(known.file.as_ref())?;
        match attempt(&archive, &source, to, file) {
            Ok(()) => {
                let text = format!(
                    "Restored revision {} to {}, from the snapshot of revision {}\n",
                    to.0,
                    file.display(),
                    known.span.last.0
                );
                return output.say(text.as_bytes());
            }
            Err(PointError::Sink(error)) => {
                let text = format!("cannot write {}", file.display());
                return Err(anyhow::Error::from(error).context(text).into());
            }
            // Another snapshot may do without what is damaged or missing here.
            Err(error) => reasons.push(format!("from {}: {error}", known.file)),
        }
    }
    let directory = directory.display();
    if reasons.is_empty() {
        return Err(anyhow!("{directory} holds no snapshot").into());
    }
    let reasons = reasons.join("\n  ");
    Err(anyhow!("revision {} cannot be restored:\n  {reasons}", to.0).into())
}

/// Writes the file from one of the snapshots, durably, under its name once it is complete.
fn attempt(
    archive: &Opened,
    source: &SnapshotFile<fs::File>,
    to: Revision,
    file: &Path,
) -> Result<(), PointError<io::Error>> {
    let database = source.database()?;
    let partial = PathBuf::from(format!("{}.part", file.display()));
    let mut out = None;
    let mut hasher = Hasher::default();
    let made = point_in_time(&database, &archive.segments, to, |chunk| {
        let out = match &mut out {
            Some(out) => out,
            None => out.insert(create(&partial)?),
        };
        hasher.add(&chunk);
        out.write_all(&chunk)
    });
    let finish = || -> io::Result<()> {
        let mut out = out.ok_or(io::ErrorKind::UnexpectedEof)?;
        out.write_all(&hasher.finish().0)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        fs::rename(&partial, file)
    };
    made.and_then(|()| finish().map_err(PointError::Sink))
        .inspect_err(|_| {
            // Half a snapshot is of no use. It may not have been begun.
            _ = fs::remove_file(&partial);
        })
}

fn create(path: &Path) -> io::Result<BufWriter<fs::File>> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    Ok(BufWriter::new(options.open(path)?))
}

/// The last revision that is known.
fn last(archive: &Opened) -> Result<Revision, Failure> {
    let mut last = Revision(0);
    for known in &archive.snapshots {
        last = last.max(known.span.last);
    }
    if let Some(segment) = archive.segments.last() {
        let mut frames = segment.frames();
        while frames.next().map_err(anyhow::Error::from)?.is_some() {}
        last = last.max(frames.last());
    }
    Ok(last)
}

/// The last revision that was archived at a time or before.
fn at_time(archive: &Opened, text: &str) -> Result<Revision, Failure> {
    let wanted = humantime::parse_rfc3339_weak(text)
        .map_err(|error| Failure::usage(format!("--to-time: {text:?}: {error}")))?;
    let wanted = wanted.duration_since(SystemTime::UNIX_EPOCH);
    let wanted = wanted.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    });
    let mut found = None;
    let mut first = None;
    for segment in &archive.segments {
        let header = segment.header();
        first = first.or(Some(header.time_ms));
        if header.time_ms <= wanted {
            found = found.max(Some(header.after));
        }
        let mut frames = segment.frames();
        let read = |error| anyhow::Error::from(error).context("the archive cannot be read");
        while let Some(revision) = frames.next().map_err(read)? {
            if revision.time_ms <= wanted {
                found = found.max(Some(Revision(revision.revision)));
            }
        }
    }
    found.ok_or_else(|| {
        let first = first.map_or_else(|| "never".to_owned(), time);
        anyhow!("the archive begins later than {text}: {first}").into()
    })
}

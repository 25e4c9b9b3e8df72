//! `diff`: the keys that differ between two revisions, of a server, a snapshot or an archive.
//!
//! Of a server the keys are read in order, one page of each revision at a time. Of files the keys
//! that were written in between are in memory.

use std::{cmp::Ordering, path::Path};

use anyhow::anyhow;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use tenure::{KeyRange, KeyValue, Revision};
use tenure_backup::archive::{Difference, DifferenceKind, KeyState, differences, span};

use super::{Session, archive, snapshot};
use crate::{
    args::{DiffArgs, Format},
    failure::Failure,
    output::Output,
    quoting::quote,
    replication::{Pages, order},
};

/// Compares two revisions of a server.
pub(super) async fn run(session: &Session, args: &DiffArgs) -> Result<(), Failure> {
    check(session.output, args)?;
    let range = KeyRange::prefix(&args.prefix);
    let pages = |revision| Pages::new(&session.client, &range, Revision::new(revision)).keys_only();
    let (mut earlier, mut later) = (pages(args.from), pages(args.to));
    let (mut before, mut after) = (earlier.next().await?, later.next().await?);
    loop {
        let (a, b) = (before.as_ref(), after.as_ref());
        let found = match order(a.map(|kv| &kv.key()[..]), b.map(|kv| &kv.key()[..])) {
            Ordering::Less => difference(a, None),
            Ordering::Greater => difference(None, b),
            Ordering::Equal => difference(a, b),
        };
        let Some(found) = found else {
            return Ok(());
        };
        print(session.output, &found)?;
        if found.before.is_some() {
            before = earlier.next().await?;
        }
        if found.after.is_some() {
            after = later.next().await?;
        }
    }
}

/// Compares two revisions of a snapshot file or of an archive.
pub(super) fn offline(output: Output, args: &DiffArgs) -> Result<(), Failure> {
    check(output, args)?;
    let (from, prefix) = (tenure_backup::Revision(args.from), args.prefix.as_bytes());
    let (file, segments) = match (&args.snapshot, &args.dir) {
        (Some(path), _) => (path.display().to_string(), Vec::new()),
        (None, directory) => {
            let directory = directory.as_deref().unwrap_or(Path::new(""));
            let opened = archive::opened(directory)?;
            let fitting = opened.snapshots.into_iter().rev();
            let mut fitting = fitting.filter(|known| known.span.floor.is_none_or(|at| at <= from));
            let known = fitting.next().ok_or_else(|| {
                let text = "no snapshot reaches back to revision";
                anyhow!("{}: {text} {}", directory.display(), from.0)
            })?;
            (known.file, opened.segments)
        }
    };
    let opened = snapshot::open(file.as_ref())?;
    let database = snapshot::database(&opened)?;
    let to = match args.to {
        0 => latest(
            &span(&database).map_err(anyhow::Error::from)?.last,
            &segments,
        )?,
        to => tenure_backup::Revision(to),
    };
    let found = differences(&database, &segments, (from, to), prefix);
    for one in found.map_err(|error| anyhow::Error::from(error).context(file.clone()))? {
        print(output, &one)?;
    }
    Ok(())
}

fn check(output: Output, args: &DiffArgs) -> Result<(), Failure> {
    if !matches!(output.format, Format::Simple | Format::Json) {
        return Err(Failure::Format(output.format.name()));
    }
    if args.from <= 0 || args.to < 0 || (args.to > 0 && args.to < args.from) {
        return Err(Failure::usage(format!(
            "REV1 and REV2 are revisions, the earlier one first: {} {}",
            args.from, args.to
        )));
    }
    Ok(())
}

/// The last revision of an archive.
fn latest(
    held: &tenure_backup::Revision,
    segments: &[tenure_backup::archive::Segment<std::fs::File>],
) -> Result<tenure_backup::Revision, Failure> {
    let mut last = *held;
    for segment in segments {
        if segment.header().after > last {
            break;
        }
        let mut frames = segment.frames();
        while frames.next().map_err(anyhow::Error::from)?.is_some() {}
        last = last.max(frames.last());
    }
    Ok(last)
}

fn difference(before: Option<&KeyValue>, after: Option<&KeyValue>) -> Option<Difference> {
    let key = before.or(after)?.key().clone();
    let (before, after) = (before.map(state), after.map(state));
    Some(Difference { key, before, after })
}

fn state(kv: &KeyValue) -> KeyState {
    KeyState {
        create_revision: tenure_backup::Revision(kv.create_revision().get()),
        mod_revision: tenure_backup::Revision(kv.mod_revision().get()),
        version: kv.version(),
        lease: kv.lease().unwrap_or_default().get(),
    }
}

#[derive(Debug, Serialize)]
struct DifferenceJson {
    key: String,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<StateJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<StateJson>,
}

#[derive(Debug, Serialize)]
struct StateJson {
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
}

fn json(state: KeyState) -> StateJson {
    StateJson {
        create_revision: state.create_revision.0,
        mod_revision: state.mod_revision.0,
        version: state.version,
        lease: state.lease,
    }
}

/// Prints a key, unless it is as it was.
fn print(output: Output, found: &Difference) -> Result<(), Failure> {
    let Some(kind) = found.kind() else {
        return Ok(());
    };
    let change = match kind {
        DifferenceKind::Added => "added",
        DifferenceKind::Changed => "changed",
        DifferenceKind::Deleted => "deleted",
    };
    let text = if output.format == Format::Json {
        let document = DifferenceJson {
            key: STANDARD.encode(&found.key),
            change,
            before: found.before.map(json),
            after: found.after.map(json),
        };
        serde_json::to_string(&document).map_err(anyhow::Error::from)?
    } else {
        let at = |state: Option<KeyState>| state.map_or(0, |state| state.mod_revision.0);
        let revisions = match kind {
            DifferenceKind::Added => format!("at {}", at(found.after)),
            DifferenceKind::Changed => format!("from {} to {}", at(found.before), at(found.after)),
            DifferenceKind::Deleted => format!("written at {}", at(found.before)),
        };
        format!("{change} {} {revisions}", quote(&found.key))
    };
    output.say(format!("{text}\n").as_bytes())
}

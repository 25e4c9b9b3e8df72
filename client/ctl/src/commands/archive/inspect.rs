//! `archive list|verify`: what is in an archive, and whether it is sound.

use std::{fmt::Write as _, fs::File, path::Path, time::Duration};

use anyhow::Context;
use serde::Serialize;
use tenure_backup::{
    Revision,
    archive::{Segment, SegmentError, Span, span},
};

use super::folder::Folder;
use crate::{
    args::Format,
    commands::{print_message, snapshot},
    failure::Failure,
    output::Output,
};

/// An archive, opened for reading.
#[derive(Debug)]
pub(in crate::commands) struct Opened {
    /// The snapshots, and the revisions that each holds.
    pub(in crate::commands) snapshots: Vec<KnownSnapshot>,
    /// The segments, in order.
    pub(in crate::commands) segments: Vec<Segment<File>>,
}

/// A snapshot of an archive.
#[derive(Debug)]
pub(in crate::commands) struct KnownSnapshot {
    pub(in crate::commands) file: String,
    pub(in crate::commands) span: Span,
}

/// Opens the files of an archive.
pub(in crate::commands) fn opened(directory: &Path) -> Result<Opened, Failure> {
    let folder = Folder::read(directory);
    let mut snapshots = Vec::new();
    for (_, path) in folder.snapshots()? {
        let file = snapshot::open(&path)?;
        let read = || -> anyhow::Result<Span> { Ok(span(&file.database()?)?) };
        let span = read().with_context(|| format!("cannot read {}", path.display()))?;
        snapshots.push(KnownSnapshot {
            file: path.display().to_string(),
            span,
        });
    }
    let mut segments = Vec::new();
    for (_, path) in folder.segments()? {
        let name = path.display().to_string();
        let file = File::open(&path).with_context(|| format!("cannot open {name}"))?;
        segments.push(Segment::open(file, name).map_err(anyhow::Error::from)?);
    }
    Ok(Opened {
        snapshots,
        segments,
    })
}

#[derive(Debug, Serialize)]
struct Listing {
    snapshots: Vec<SnapshotLine>,
    changes: Vec<SegmentLine>,
    /// First and last revision of each range.
    restorable: Vec<[i64; 2]>,
}

#[derive(Debug, Serialize)]
struct SnapshotLine {
    revision: i64,
    /// The first revision that can be restored from it.
    floor: i64,
    file: String,
}

#[derive(Debug, Serialize)]
struct SegmentLine {
    /// The revision before the first one.
    after: i64,
    last: i64,
    #[serde(rename = "afterTime")]
    after_time: String,
    #[serde(rename = "lastTime")]
    last_time: String,
    file: String,
}

pub(super) fn list(output: Output, directory: &Path) -> Result<(), Failure> {
    let (listing, damage) = listing(directory)?;
    print(output, &listing)?;
    refuse(damage)
}

/// Reads every byte. Nothing is written.
pub(super) fn verify(output: Output, directory: &Path) -> Result<(), Failure> {
    let mut unsound = 0_usize;
    for (_, path) in Folder::read(directory).snapshots()? {
        if let Err(failure) = sound(&path) {
            unsound += 1;
            print_message(format_args!("{}: {failure}", path.display()));
        }
    }
    let (listing, damage) = listing(directory)?;
    print(output, &listing)?;
    refuse(damage)?;
    if unsound > 0 {
        return Err(anyhow::anyhow!("{unsound} snapshots are damaged").into());
    }
    if output.format == Format::Simple {
        output.say(b"checksums and structure are sound\n")?;
    }
    Ok(())
}

/// Checks a snapshot: its checksum, and its structure.
fn sound(path: &Path) -> Result<(), Failure> {
    let file = snapshot::open(path)?;
    file.verify_checksum().map_err(anyhow::Error::from)?;
    snapshot::database(&file).map(drop)
}

fn refuse(damage: Vec<SegmentError>) -> Result<(), Failure> {
    let files = damage.len();
    for error in damage {
        print_message(error);
    }
    if files == 0 {
        return Ok(());
    }
    Err(anyhow::anyhow!("{files} files with changes are damaged, or cut").into())
}

/// What there is, and the damage that was found.
fn listing(directory: &Path) -> Result<(Listing, Vec<SegmentError>), Failure> {
    let opened = opened(directory)?;
    let mut damage = Vec::new();
    let mut reach: Vec<[i64; 2]> = Vec::new();
    let mut changes = Vec::new();
    for segment in &opened.segments {
        let header = segment.header();
        let mut time_ms = header.time_ms;
        let mut frames = segment.frames();
        loop {
            match frames.next() {
                Ok(Some(revision)) => time_ms = revision.time_ms,
                Ok(None) => break,
                Err(error) => {
                    damage.push(error);
                    break;
                }
            }
        }
        let (after, last) = (header.after.0, frames.last().0);
        reach.push([after, last]);
        changes.push(SegmentLine {
            after,
            last,
            after_time: time(header.time_ms),
            last_time: time(time_ms),
            file: segment.file().to_owned(),
        });
    }
    let snapshots = opened.snapshots.into_iter().map(|known| SnapshotLine {
        revision: known.span.last.0,
        floor: known.span.floor.unwrap_or(Revision::EMPTY).0,
        file: known.file,
    });
    let snapshots: Vec<SnapshotLine> = snapshots.collect();
    let listing = Listing {
        restorable: restorable(&snapshots, &reach),
        snapshots,
        changes,
    };
    Ok((listing, damage))
}

/// The ranges of revisions that can be restored: what snapshots hold, and what follows them.
fn restorable(snapshots: &[SnapshotLine], segments: &[[i64; 2]]) -> Vec<[i64; 2]> {
    let mut ranges: Vec<[i64; 2]> = Vec::new();
    for snapshot in snapshots {
        let mut last = snapshot.revision;
        for [after, end] in segments {
            if *after <= last {
                last = last.max(*end);
            }
        }
        ranges.push([snapshot.floor, last]);
    }
    ranges.sort_unstable();
    let mut merged: Vec<[i64; 2]> = Vec::new();
    for [first, last] in ranges {
        match merged.last_mut() {
            Some([_, end]) if first <= end.saturating_add(1) => *end = (*end).max(last),
            _ => merged.push([first, last]),
        }
    }
    merged
}

/// A time in milliseconds since 1970 as text.
pub(super) fn time(time_ms: u64) -> String {
    let time = std::time::UNIX_EPOCH.checked_add(Duration::from_millis(time_ms));
    match time {
        // Later times have no such text.
        Some(time) if time_ms < 253_370_764_800_000 => {
            humantime::format_rfc3339_millis(time).to_string()
        }
        _ => format!("{time_ms} ms"),
    }
}

fn print(output: Output, listing: &Listing) -> Result<(), Failure> {
    let text = match output.format {
        Format::Json => {
            let json = serde_json::to_string(listing).map_err(anyhow::Error::from)?;
            format!("{json}\n")
        }
        Format::Simple => describe(listing),
        Format::Fields | Format::Table => return Err(Failure::Format(output.format.name())),
    };
    output.say(text.as_bytes())
}

fn describe(listing: &Listing) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    for snapshot in &listing.snapshots {
        let SnapshotLine {
            revision,
            floor,
            file,
        } = snapshot;
        _ = writeln!(
            text,
            "snapshot of revision {revision}, from {floor} on, {file}"
        );
    }
    for change in &listing.changes {
        let (first, last) = (change.after + 1, change.last);
        let file = &change.file;
        if last < first {
            _ = writeln!(text, "changes after revision {}: none, {file}", first - 1);
            continue;
        }
        let (from, to) = (&change.after_time, &change.last_time);
        _ = writeln!(text, "changes {first} to {last}, {from} to {to}, {file}");
    }
    for [first, last] in &listing.restorable {
        _ = writeln!(text, "can be restored: {first} to {last}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(floor: i64, revision: i64) -> SnapshotLine {
        SnapshotLine {
            revision,
            floor,
            file: String::new(),
        }
    }

    #[test]
    fn what_can_be_restored_is_what_snapshots_hold_and_what_follows_them_without_a_gap() {
        let segments = [[10, 15], [15, 20], [30, 31]];
        let one = [snapshot(3, 10)];
        assert_eq!(restorable(&one, &segments), [[3, 20]]);
        // A snapshot within a series adds nothing, and one after a hole begins another range.
        let three = [snapshot(3, 10), snapshot(12, 17), snapshot(25, 30)];
        assert_eq!(restorable(&three, &segments), [[3, 20], [25, 31]]);
        assert_eq!(restorable(&[], &segments), [[0_i64; 2]; 0]);
    }

    #[test]
    fn times_are_written_as_they_are_given_to_restore() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert!(humantime::parse_rfc3339_weak(&time(1_800_000_000_123)).is_ok());
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
    }
}

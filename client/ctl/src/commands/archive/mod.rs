//! `archive`: a snapshot and every change after it in a folder, and snapshots of any revision out
//! of it.
//!
//! `docs/archive-format.md` describes the folder.

mod folder;
mod inspect;
mod recorder;
mod restore;
mod segment_writer;
mod tail;

use std::path::Path;

use tenure::KeyRange;
use tokio::sync::watch;

use super::{Session, print_message, signals::Signals};
use crate::{
    args::{ArchiveArgs, ArchiveCommand},
    failure::Failure,
    output::Output,
    replication::Head,
};

pub(super) use folder::Folder;
pub(super) use recorder::{Recorder, RecorderOptions};
pub(super) use tail::Tail;

/// Files of an archive that is only read, and the name of the folder for messages.
pub(super) use inspect::opened;

/// Runs a command on an archive that needs no server.
pub(super) fn offline(
    output: Output,
    args: &ArchiveArgs,
    command: &ArchiveCommand,
) -> Result<(), Failure> {
    let directory = directory(args)?;
    match command {
        ArchiveCommand::List => inspect::list(output, directory),
        ArchiveCommand::Verify => inspect::verify(output, directory),
        ArchiveCommand::Restore {
            file,
            to_revision,
            to_time,
        } => {
            let time = to_time.as_deref();
            restore::run(output, directory, file, *to_revision, time)
        }
    }
}

fn directory(args: &ArchiveArgs) -> Result<&Path, Failure> {
    let missing = || Failure::usage("--dir names the folder of the archive");
    args.dir.as_deref().ok_or_else(missing)
}

/// Archives until a signal ends it.
pub(super) async fn run(session: &Session, args: &ArchiveArgs) -> Result<(), Failure> {
    let directory = directory(args)?;
    let mut signals = Signals::take()?;
    let folder = Folder::lock(directory)?;
    let options = RecorderOptions {
        segment_bytes: args.segment_bytes,
        snapshot_interval: args.snapshot_interval,
    };
    let head = Head::follow(&session.client, &KeyRange::all());
    let mut recorder = Recorder::begin(&session.client, folder, options).await?;
    let until = if args.once {
        Some(head.read().await?)
    } else {
        None
    };
    print_message(format_args!(
        "archiving into {} from revision {} on",
        directory.display(),
        recorder.last().get() + 1
    ));
    let (durable, _) = watch::channel(recorder.last());
    // Dropping the recorder loses nothing: what is not durable is read again from the server.
    let ended = signals
        .or_signal(recorder.run(until, &durable, Some(&head)))
        .await;
    if let Ok(outcome) = ended {
        outcome?;
    }
    let text = format!("Archived to revision {}\n", durable.borrow().get());
    session.output.say(text.as_bytes())
}

//! `snapshot save|status|verify|restore`: one server's data in a file, and a file as data.

mod inspect;
mod restore;
mod save;

use std::{fs::File, path::Path, time::Duration};

use anyhow::Context;
use tenure::Client;
use tenure_backup::{
    bbolt::Database,
    file::{Section, SnapshotFile},
};

use super::Session;
use crate::{args::Snapshot, failure::Failure, output::Output};

/// Saves a snapshot of a server.
pub(super) async fn save(
    session: &Session,
    file: &Path,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    save::run(session, file, limit).await
}

/// Writes a snapshot of a server into `path`, verified and durable. The file is not renamed.
pub(super) async fn receive(client: &Client, path: &Path) -> Result<(), Failure> {
    save::save(client, path).await.map(drop)
}

/// Runs a command that needs no server.
pub(super) fn offline(output: Output, command: &Snapshot) -> Result<(), Failure> {
    match command {
        Snapshot::Save { .. } => Ok(()),
        Snapshot::Status { file } => inspect::status(output, file),
        Snapshot::Verify { file } => inspect::verify(output, file),
        Snapshot::Restore(args) => restore::run(output, args),
    }
}

/// Opens a snapshot file, which is never written to.
pub(super) fn open(path: &Path) -> Result<SnapshotFile<File>, Failure> {
    let opened = || -> anyhow::Result<_> { Ok(SnapshotFile::open(File::open(path)?)?) };
    Ok(opened().with_context(|| format!("cannot open {}", path.display()))?)
}

/// Opens the database in a snapshot file, and checks its structure.
pub(super) fn database(file: &SnapshotFile<File>) -> Result<Database<Section<&File>>, Failure> {
    let checked = || -> anyhow::Result<_> {
        let database = file.database()?;
        database.check()?;
        Ok(database)
    };
    Ok(checked().context("invalid database")?)
}

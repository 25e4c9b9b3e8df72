//! `snapshot save`: writes a server's snapshot to a file.
//!
//! The file is renamed to its final name once it is complete and synced.

use std::{
    fs::{self, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tenure::Client;
use tenure_backup::file::check_saved;
use tokio::time::timeout;

use crate::{commands::Session, failure::Failure};

/// Deadline unless the user sets one; practically unlimited.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) async fn run(
    session: &Session,
    file: &Path,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    let partial = PathBuf::from(format!("{}.part", file.display()));
    let saved = timeout(limit.unwrap_or(NO_LIMIT), save(&session.client, &partial)).await;
    let saved = saved.unwrap_or_else(|_| {
        Err(anyhow::anyhow!("the snapshot took longer than --command-timeout").into())
    });
    let version = match saved {
        Ok(version) => version,
        Err(failure) => {
            // The partial file is of no use.
            _ = fs::remove_file(&partial);
            return Err(failure);
        }
    };
    fs::rename(&partial, file).with_context(|| format!("cannot name {}", file.display()))?;
    session
        .output
        .say(format!("Snapshot saved at {}\n", file.display()).as_bytes())?;
    if !version.is_empty() {
        session
            .output
            .say(format!("Server version {version}\n").as_bytes())?;
    }
    Ok(())
}

/// Writes the snapshot and returns the version of the server.
pub(super) async fn save(client: &Client, path: &Path) -> Result<String, Failure> {
    let mut snapshot = client.maintenance().snapshot().await?;
    // Everything that the store holds is in it.
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    let (mut written, mut remaining, mut version) = (0_u64, 0, String::new());
    let bar = if io::stderr().is_terminal() {
        progress_bar()
    } else {
        ProgressBar::hidden()
    };
    while let Some(piece) = snapshot.next().await? {
        file.write_all(piece.data())
            .with_context(|| format!("cannot write {}", path.display()))?;
        written += piece.data().len() as u64;
        remaining = piece.remaining_bytes();
        bar.set_length(written + remaining);
        bar.set_position(written);
        if !piece.version().is_empty() {
            version = piece.version().to_owned();
        }
    }
    bar.finish_and_clear();
    if remaining > 0 || written == 0 {
        let text = "the server ended the snapshot early";
        return Err(anyhow::anyhow!("{text}: {remaining} bytes are missing").into());
    }
    check_saved(written).map_err(anyhow::Error::from)?;
    file.sync_all()
        .with_context(|| format!("cannot write {}", path.display()))?;
    verify(path)?;
    Ok(version)
}

/// Reads back what was written, and compares its checksum.
fn verify(path: &Path) -> Result<(), Failure> {
    let saved = super::open(path)?;
    let verified = saved.verify_checksum();
    Ok(verified.with_context(|| format!("{} was not saved as sent", path.display()))?)
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(0).with_style(style.expect("the template is valid"))
}

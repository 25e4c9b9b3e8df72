//! The segment that is appended to.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, anyhow};
use tenure_backup::{
    Revision,
    archive::{SEGMENT_HEADER_BYTES, Segment, SegmentError, SegmentHeader},
};

use super::folder::Folder;
use crate::{commands::print_message, failure::Failure};

/// A segment that is appended to. What [`SegmentWriter::append`] returned for is durable.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    file: File,
    bytes: u64,
    last: Revision,
    header: SegmentHeader,
}

impl SegmentWriter {
    /// Makes a segment.
    pub(super) fn create(folder: &Folder, header: SegmentHeader) -> Result<Self, Failure> {
        let path = folder.segment_path(header.after);
        let made = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            let mut file = options
                .create_new(true)
                .append(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(&header.encode())?;
            file.sync_all()?;
            folder.sync()?;
            Ok(file)
        };
        let file = made().with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self {
            file,
            bytes: SEGMENT_HEADER_BYTES as u64,
            last: header.after,
            header,
        })
    }

    /// Opens the last segment, and cuts off an append that was interrupted. `None` when even its
    /// header was: the file is then removed.
    pub(super) fn reopen(path: &Path) -> Result<Option<Self>, Failure> {
        let name = path.display().to_string();
        let file = OpenOptions::new().read(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open {name}"))?;
        let segment = match Segment::open(file, name.clone()) {
            Ok(segment) => segment,
            Err(error) if error.fault.is_torn_end() => {
                print_message(format_args!("{error}: removed, it was being created"));
                fs::remove_file(path).with_context(|| format!("cannot remove {name}"))?;
                return Ok(None);
            }
            Err(error) => return Err(damaged(error)),
        };
        let mut frames = segment.frames();
        let torn = loop {
            match frames.next() {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) if error.fault.is_torn_end() => break Some(error),
                Err(error) => return Err(damaged(error)),
            }
        };
        let (bytes, last, header) = (frames.offset(), frames.last(), segment.header());
        let file = OpenOptions::new().append(true).open(path);
        let file = file.with_context(|| format!("cannot open {name}"))?;
        if let Some(error) = torn {
            print_message(format_args!("{error}: cut off, it will be read again"));
            let cut = || -> io::Result<()> {
                file.set_len(bytes)?;
                file.sync_all()
            };
            cut().with_context(|| format!("cannot cut {name}"))?;
        }
        Ok(Some(Self {
            file,
            bytes,
            last,
            header,
        }))
    }

    pub(super) const fn last(&self) -> Revision {
        self.last
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn header(&self) -> SegmentHeader {
        self.header
    }

    /// Appends frames, the last of which is of revision `last`, durably.
    pub(super) fn append(&mut self, frames: &[u8], last: Revision) -> io::Result<()> {
        self.file.write_all(frames)?;
        self.file.sync_data()?;
        self.bytes += frames.len() as u64;
        self.last = last;
        Ok(())
    }
}

/// Damage that no interrupted append explains.
fn damaged(error: SegmentError) -> Failure {
    let advice = "the archive is damaged; keep it for what `archive verify` finds sound, and \
                  archive into another folder";
    anyhow!("{error}; {advice}").into()
}

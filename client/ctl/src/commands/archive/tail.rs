//! Reads an archive while it is written.

use std::fs::File;

use anyhow::{Context, anyhow};
use tenure_backup::{
    Revision,
    archive::{ArchivedRevision, Place, Segment},
};

use super::folder::Folder;
use crate::failure::Failure;

/// Reads the revisions after one, in order.
#[derive(Debug)]
pub(in crate::commands) struct Tail {
    folder: Folder,
    last: Revision,
    /// The segment that is read, and where its next frame begins.
    segment: Option<(Segment<File>, Place)>,
}

impl Tail {
    /// Reads the revisions after `last`.
    pub(in crate::commands) fn new(folder: &Folder, last: tenure::Revision) -> Self {
        Self {
            folder: Folder::read(folder.path()),
            last: Revision(last.get()),
            segment: None,
        }
    }

    /// The next revision. Only called for one that is durable.
    pub(in crate::commands) fn next(&mut self) -> Result<ArchivedRevision, Failure> {
        let mut is_opened = false;
        loop {
            let (segment, place) = match self.segment.take() {
                Some(open) => open,
                None if is_opened => return Err(self.missing()),
                None => {
                    is_opened = true;
                    self.open()?
                }
            };
            let mut frames = segment.frames_from(place);
            let read = frames.next().map_err(anyhow::Error::from)?;
            let place = frames.place();
            let Some(found) = read else {
                // The segment is full, and another one follows it.
                continue;
            };
            self.segment = Some((segment, place));
            if found.revision > self.last.0 {
                self.last = Revision(found.revision);
                return Ok(found);
            }
        }
    }

    fn open(&self) -> Result<(Segment<File>, Place), Failure> {
        let segments = self.folder.segments()?;
        let mut earlier = segments.into_iter().rev();
        let found = earlier.find(|(after, _)| *after <= self.last);
        let (_, path) = found.ok_or_else(|| self.missing())?;
        let name = path.display().to_string();
        let opened = || -> anyhow::Result<_> { Ok(Segment::open(File::open(&path)?, &*name)?) };
        let segment = opened().with_context(|| format!("cannot open {name}"))?;
        let place = segment.frames().place();
        Ok((segment, place))
    }

    fn missing(&self) -> Failure {
        let (folder, next) = (self.folder.path().display(), self.last.0 + 1);
        anyhow!("{folder}: revision {next} is missing").into()
    }
}

//! Copies the keys that exist at one revision.
//!
//! Keys are merged in order with those of the destination, if it is the mirror's alone: what is
//! equal is left, what the source does not have is deleted.

use std::cmp::Ordering;

use bytes::Bytes;
use tenure::{Delete, KeyRange, KeyValue, Op, Put, Revision};

use super::{mirror::Mirror, progress::Progress};
use crate::{
    failure::Failure,
    replication::{Pages, key_after, order},
};

/// Bytes of one transaction at most, unless one key exceeds it. Servers refuse requests above one
/// and a half megabytes.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Operations that wait for being written.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) ops: Vec<Op>,
    bytes: usize,
}

impl Batch {
    /// Whether `bytes` more fit.
    pub(super) fn has_room(&self, bytes: usize, ops_max: usize) -> bool {
        self.ops.is_empty() || (self.ops.len() < ops_max && self.bytes + bytes <= BATCH_BYTES_MAX)
    }

    pub(super) fn push(&mut self, op: Op, bytes: usize) {
        self.ops.push(op);
        self.bytes += bytes;
    }

    pub(super) fn take(&mut self) -> Vec<Op> {
        self.bytes = 0;
        std::mem::take(&mut self.ops)
    }
}

impl Mirror {
    /// Copies the keys from `next` on as of `revision`, or of the latest revision if it is zero.
    /// Returns the revision.
    pub(super) async fn copy_base(
        &mut self,
        revision: Revision,
        next: Option<Bytes>,
    ) -> Result<Revision, Failure> {
        let range = self.plan.range.clone();
        let mut source = Pages::new(&self.source, &range, revision);
        if let Some(next) = &next {
            source = source.starting_at(next.clone());
        }
        let mut destination = self.plan.resume.then(|| {
            let to = &self.plan.mapping.to;
            let pages = Pages::new(
                &self.destination,
                &KeyRange::prefix(to),
                Revision::default(),
            );
            // Only what is below the place that is read was written meanwhile.
            let pages = pages.moving();
            match &next {
                Some(next) => pages.starting_at(self.plan.mapping.key(next)),
                None => pages,
            }
        });
        self.last_source_key = None;
        let mut batch = Batch::default();
        let mut ours = source.next().await?;
        let at = source.revision();
        let mut theirs = self.existing(destination.as_mut()).await?;
        loop {
            let key = ours.as_ref().map(|kv| self.plan.mapping.key(kv.key()));
            let there = theirs.as_ref().map(|kv| kv.key().clone());
            if key.is_none() && there.is_none() {
                break;
            }
            let ordering = order(key.as_deref(), there.as_deref());
            if ordering == Ordering::Greater {
                if let Some(there) = there {
                    let bytes = there.len();
                    let op = Op::from(Delete::new(there));
                    self.add_base(&mut batch, op, bytes, at).await?;
                }
            } else if let Some(kv) = &ours
                && !is_same(
                    kv,
                    theirs.as_ref().filter(|_| ordering == Ordering::Equal),
                    self,
                )
            {
                let bytes = kv.key().len() + kv.value().len();
                let op = self.put(kv).await?;
                self.add_base(&mut batch, op, bytes, at).await?;
                self.last_source_key = Some(kv.key().clone());
            }
            if ordering != Ordering::Greater {
                ours = source.next().await?;
            }
            if ordering != Ordering::Less {
                theirs = self.existing(destination.as_mut()).await?;
            }
        }
        let progress = Progress::copied(at);
        self.writer.write(batch.take(), &progress).await?;
        Ok(at)
    }

    /// Adds an operation. Writes those before when they are many.
    async fn add_base(
        &mut self,
        batch: &mut Batch,
        op: Op,
        bytes: usize,
        at: Revision,
    ) -> Result<(), Failure> {
        if !batch.has_room(bytes, self.writer.ops_max()) {
            // Keys of the destination between this one and the next of the source may be left.
            let next = match &self.last_source_key {
                Some(last) => key_after(last),
                None => self.plan.range.start().clone(),
            };
            let progress = Progress::copying(at, &next);
            self.writer.write(batch.take(), &progress).await?;
        }
        batch.push(op, bytes);
        Ok(())
    }

    /// The next key of the destination that is not the progress.
    async fn existing(&self, pages: Option<&mut Pages>) -> Result<Option<KeyValue>, Failure> {
        let Some(pages) = pages else {
            return Ok(None);
        };
        let mut found = pages.next().await?;
        while found.as_ref().map(KeyValue::key) == self.writer.key() && found.is_some() {
            found = pages.next().await?;
        }
        Ok(found)
    }

    /// The write of a key at the destination.
    pub(super) async fn put(&self, kv: &KeyValue) -> Result<Op, Failure> {
        let put = Put::new(self.plan.mapping.key(kv.key()), kv.value());
        match (&self.leases, kv.lease()) {
            (Some(leases), Some(lease)) => {
                leases.ensure(lease).await?;
                Ok(put.lease(lease).into())
            }
            _ => Ok(put.into()),
        }
    }
}

/// Whether the destination has a key as the source has it.
fn is_same(ours: &KeyValue, theirs: Option<&KeyValue>, mirror: &Mirror) -> bool {
    theirs.is_some_and(|theirs| {
        ours.value() == theirs.value()
            && (mirror.leases.is_none() || ours.lease() == theirs.lease())
    })
}

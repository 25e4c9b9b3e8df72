//! Transactions at the destination, and the progress in them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::anyhow;
use bytes::Bytes;
use tenure::{Client, Compare, Get, Op, Put, Relation};

use super::progress::Progress;
use crate::{
    failure::Failure,
    replication::{patiently, read_patiently},
};

/// Number of keys and changes that were copied.
pub(super) type Count = Arc<AtomicU64>;

/// Writes to the destination.
#[derive(Debug)]
pub(super) struct Writer {
    destination: Client,
    /// Key of the progress, if it is kept.
    key: Option<Bytes>,
    /// The progress in the destination; empty when there is none.
    stored: Bytes,
    ops_max: usize,
    count: Count,
}

impl Writer {
    pub(super) fn new(destination: &Client, ops_max: usize) -> Self {
        Self {
            destination: destination.clone(),
            key: None,
            stored: Bytes::new(),
            ops_max,
            count: Count::default(),
        }
    }

    pub(super) fn count(&self) -> Count {
        Arc::clone(&self.count)
    }

    /// The key of the progress, if it is kept.
    pub(super) const fn key(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// Operations of one transaction at most, besides the progress.
    pub(super) fn ops_max(&self) -> usize {
        self.ops_max - usize::from(self.key.is_some())
    }

    /// Keeps the progress under `key` from now on. Returns what is there.
    pub(super) async fn keep_progress(&mut self, key: Bytes) -> Result<Option<Progress>, Failure> {
        let found = read_patiently(async || self.destination.get(&key).await).await?;
        self.key = Some(key);
        let Some(value) = found.value() else {
            return Ok(None);
        };
        self.stored = value.clone();
        let progress = serde_json::from_slice(value);
        let unreadable = |error| anyhow!("the progress in the destination is unreadable: {error}");
        Ok(Some(progress.map_err(unreadable)?))
    }

    /// Writes operations, at most [`Writer::ops_max`], in one transaction with the progress after
    /// them.
    pub(super) async fn write(&mut self, ops: Vec<Op>, progress: &Progress) -> Result<(), Failure> {
        let copied = ops.len() as u64;
        match self.key.clone() {
            None => self.write_plain(ops).await?,
            Some(key) => self.write_with_progress(ops, &key, progress).await?,
        }
        self.count.fetch_add(copied, Ordering::Relaxed);
        Ok(())
    }

    /// Without progress an attempt whose outcome is unknown cannot be repeated: it could arrive
    /// after later changes.
    async fn write_plain(&self, ops: Vec<Op>) -> Result<(), Failure> {
        if ops.is_empty() {
            return Ok(());
        }
        let may_repeat = |error: &tenure::Error| error.is_retryable() && !error.outcome_unknown();
        let write = async || {
            let txn = ops.iter().cloned();
            txn.fold(self.destination.txn(), |txn, op| txn.and_then(op))
                .await
        };
        patiently(write, may_repeat).await?;
        Ok(())
    }

    async fn write_with_progress(
        &mut self,
        ops: Vec<Op>,
        key: &Bytes,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let value: Bytes = serde_json::to_vec(progress)
            .map_err(anyhow::Error::from)?
            .into();
        if ops.is_empty() && value == self.stored {
            return Ok(());
        }
        let before = if self.stored.is_empty() {
            Compare::missing(key)
        } else {
            Compare::value(key, Relation::Equal, &self.stored)
        };
        let write = async || {
            let txn = self.destination.txn().when(before.clone());
            let txn = ops.iter().cloned().fold(txn, |txn, op| txn.and_then(op));
            txn.and_then(Put::new(key, &value))
                .or_else(Get::new(key))
                .await
        };
        let repeat = |error: &tenure::Error| error.is_retryable() || error.outcome_unknown();
        let answer = patiently(write, repeat).await?;
        if !answer.succeeded() {
            let found = answer.get(0).and_then(|found| found.value());
            // An attempt whose answer was lost did it.
            if found != Some(&value) {
                return Err(anyhow!(
                    "another mirror writes to the destination: the progress in {:?} is not what \
                     this one left",
                    String::from_utf8_lossy(key)
                )
                .into());
            }
        }
        self.stored = value;
        Ok(())
    }
}

//! A range as a stream of chunks, of one revision and from one ordered pass.
//!
//! The pass is made in slices: a thread reads on while the client takes chunks; otherwise the
//! thread is released and only the position of the pass is kept. A later slice reads at the
//! revision of the first, so it cannot observe later writes; history that is compacted meanwhile
//! ends the stream. Invariant: the merged chunks equal the response of the unary call.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt, Stream};
use prost::Message;
use tenure_proto::{
    etcdserverpb::{RangeResponse, RangeStreamResponse},
    mvccpb,
};
use tenure_statemachine::{
    KeyValue, RangeEnd, RangeQuery, ReadError, Reader, Revision, SortTarget,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::Status;

use super::{
    bulk::{BulkReads, Held, Start, Turn},
    failure::Failure,
    large::UNREAD_MAX,
    reply::{self, Headers},
    status::Reason,
};
use crate::{
    rpc::{admission::Permit, services::Services},
    tasks,
};

/// Keys of the first chunk, which is sent early; etcd's value.
const FIRST_CHUNK_KEYS: usize = 10;
/// Bytes at which a chunk is full, unless one record is larger.
const CHUNK_BYTES: usize = 128 * 1024;
/// Chunks that may wait for the client; a thread reads on when half of them are taken.
const CHUNKS_WAITING_MAX: usize = 8;
/// Memory of a stream: the waiting chunks, one being built and one in the transport.
const STREAM_BYTES: usize = CHUNK_BYTES * (CHUNKS_WAITING_MAX + 2);

/// The chunks of a range, as sent to a client.
#[derive(Debug)]
pub(in crate::rpc) struct Chunks {
    chunks: mpsc::Receiver<RangeStreamResponse>,
    /// Why the stream ends before its last chunk.
    failed: Option<oneshot::Receiver<Failure>>,
    /// The memory of its chunks, held while it is open.
    _held: Held,
}

impl Stream for Chunks {
    type Item = Result<RangeStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(Some(chunk)) = self.chunks.poll_recv(context) {
            return Poll::Ready(Some(Ok(chunk)));
        }
        let Some(failed) = &mut self.failed else {
            return Poll::Ready(None);
        };
        // Sent or dropped by the task that builds the chunks, when it ends.
        let Poll::Ready(failed) = failed.poll_unpin(context) else {
            return Poll::Pending;
        };
        // Chunks that were built before the failure are sent first.
        if let Poll::Ready(Some(chunk)) = self.chunks.poll_recv(context) {
            if let Ok(failure) = failed {
                self.failed = Some(failed_with(failure));
            }
            return Poll::Ready(Some(Ok(chunk)));
        }
        self.failed = None;
        Poll::Ready(failed.ok().map(|failure| Err(failure.into())))
    }
}

/// A channel that already contains `failure`.
fn failed_with(failure: Failure) -> oneshot::Receiver<Failure> {
    let (sender, receiver) = oneshot::channel();
    // The receiver exists here.
    _ = sender.send(failure);
    receiver
}

/// Starts to stream `query`. Waits until there is memory for the stream.
pub(in crate::rpc) async fn stream(
    services: Arc<Services>,
    permit: Permit,
    query: RangeQuery,
) -> Result<Chunks, Failure> {
    let held = services.bulk_reads.memory().take(STREAM_BYTES).await?;
    let (sender, chunks) = mpsc::channel(CHUNKS_WAITING_MAX);
    let (failed, failure) = oneshot::channel();
    let reads = services.bulk_reads.of_caller();
    tasks::spawn("range-stream", async move {
        if let Err(failure) = make(&services, &reads, (permit, query), sender).await {
            // A client that is gone needs no failure.
            _ = failed.send(failure);
        }
    });
    Ok(Chunks {
        chunks,
        failed: Some(failure),
        _held: held,
    })
}

/// The outcome of a slice of a pass.
#[derive(Debug)]
enum Slice {
    /// There is no room for the full chunk, or the slice's turn is over.
    Over,
    /// The last chunk was sent.
    Done(RangeStreamResponse),
}

async fn make(
    services: &Arc<Services>,
    reads: &BulkReads,
    (permit, query): (Permit, RangeQuery),
    chunks: mpsc::Sender<RangeStreamResponse>,
) -> Result<(), Failure> {
    let mut pass = Pass::of(query);
    let mut start = pass.start();
    loop {
        let room = timeout(UNREAD_MAX, chunks.reserve_many(CHUNKS_WAITING_MAX / 2)).await;
        match room {
            // The client is gone.
            Ok(Err(_)) => return Ok(()),
            Ok(Ok(room)) => drop(room),
            Err(_) => return Err(Reason::AnswerUnread.into()),
        }
        let (sender, serving) = (chunks.clone(), Arc::clone(services));
        let permit = permit.clone();
        let read = move |reader: &Reader<'_>, turn: &Turn| {
            permit.check(reader)?;
            let slice = pass.slice(reader, turn, &sender, &serving.headers)?;
            Ok((pass, slice))
        };
        let slice = reads.read_charged(start, Held::none(), read);
        let (went_on, slice) = slice.await?;
        if let Slice::Done(last) = slice {
            // A client that is gone is no failure.
            let last = timeout(UNREAD_MAX, chunks.send(last)).await;
            return last.map(drop).map_err(|_| Reason::AnswerUnread.into());
        }
        (pass, start) = (went_on, Start::Large);
    }
}

/// The position of a pass.
#[derive(Debug)]
struct Pass {
    query: RangeQuery,
    /// The latest revision when it began.
    latest: Option<Revision>,
    /// Keys that may still be sent; `None` is no limit.
    left: Option<usize>,
    /// Keys that were sent.
    sent: usize,
    chunk: Chunk,
    sorted: Option<Sorted>,
}

/// The chunk being built.
#[derive(Debug, Default)]
struct Chunk {
    kvs: Vec<mvccpb::KeyValue>,
    bytes: usize,
    first_was_sent: bool,
}

/// Records that had to be sorted before the first could be sent.
#[derive(Debug)]
struct Sorted {
    /// The last is sent first.
    kvs: Vec<KeyValue>,
    more: bool,
    count: i64,
    _held: Held,
}

impl Pass {
    fn of(query: RangeQuery) -> Self {
        let limit = usize::try_from(query.limit).unwrap_or(0);
        Self {
            query,
            latest: None,
            left: (limit > 0).then_some(limit),
            sent: 0,
            chunk: Chunk::default(),
            sorted: None,
        }
    }

    const fn is_by_key(&self) -> bool {
        matches!(self.query.sort_target, SortTarget::Key)
    }

    /// How the first slice runs: it ends after one turn, unless it must visit the whole range.
    const fn start(&self) -> Start {
        if self.query.count_only || self.query.limit > 0 {
            Start::Short
        } else if self.is_by_key() {
            Start::OneTurn
        } else {
            Start::Charged
        }
    }

    /// Reads until there is no room for chunks, or no more records.
    fn slice(
        &mut self,
        reader: &Reader<'_>,
        turn: &Turn,
        chunks: &mpsc::Sender<RangeStreamResponse>,
        headers: &Headers,
    ) -> Result<Slice, ReadError> {
        let latest = *self.latest.get_or_insert(reader.meta().revision);
        if self.query.revision.0 <= 0 {
            // Later slices read at this revision too.
            self.query.revision = latest;
        }
        let mut end = RangeResponse {
            header: Some(headers.at(latest)),
            ..RangeResponse::default()
        };
        if self.query.count_only {
            end.count = reader.range(&self.query)?.count;
            return Ok(Slice::Done(response(end)));
        }
        let done = if self.is_by_key() {
            self.read_on(reader, turn, chunks)?
        } else {
            self.hand_on(reader, turn, chunks)?
        };
        if !done {
            return Ok(Slice::Over);
        }
        (end.more, end.count) = self.tally(reader)?;
        end.kvs = self.chunk.take();
        Ok(Slice::Done(response(end)))
    }

    /// Reads records in key order. Returns whether all requested records were read.
    fn read_on(
        &mut self,
        reader: &Reader<'_>,
        turn: &Turn,
        chunks: &mpsc::Sender<RangeStreamResponse>,
    ) -> Result<bool, ReadError> {
        if self.left == Some(0) {
            return Ok(true);
        }
        let (mut done, mut last) = (true, None);
        let Self {
            query,
            left,
            sent,
            chunk,
            ..
        } = self;
        reader.visit(query, &mut |kv| {
            if !chunk.make_room(chunks) || turn.is_over() {
                done = false;
                return false;
            }
            last = Some(kv.key.clone());
            chunk.add(kv);
            *sent += 1;
            if let Some(left) = left {
                *left -= 1;
            }
            *left != Some(0)
        })?;
        if let (Some(last), false) = (last, self.is_point()) {
            self.query.range.start = [last.as_ref(), &[0]].concat().into();
        }
        Ok(done)
    }

    const fn is_point(&self) -> bool {
        matches!(self.query.range.end, RangeEnd::Single)
    }

    /// Sorts the records as the unary call does, and sends them. Returns whether all were sent.
    fn hand_on(
        &mut self,
        reader: &Reader<'_>,
        turn: &Turn,
        chunks: &mpsc::Sender<RangeStreamResponse>,
    ) -> Result<bool, ReadError> {
        let sorted = match &mut self.sorted {
            Some(sorted) => sorted,
            None => {
                let reply = reader.range(&self.query)?;
                let mut kvs = reply.kvs;
                kvs.reverse();
                self.sorted.insert(Sorted {
                    kvs,
                    more: reply.more,
                    count: reply.count,
                    _held: turn.take_held(),
                })
            }
        };
        while !sorted.kvs.is_empty() {
            if !self.chunk.make_room(chunks) {
                return Ok(false);
            }
            let Some(kv) = sorted.kvs.pop() else { break };
            self.chunk.add(kv);
        }
        Ok(true)
    }

    /// Whether there are more keys than requested, and how many there are in all.
    fn tally(&self, reader: &Reader<'_>) -> Result<(bool, i64), ReadError> {
        if let Some(sorted) = &self.sorted {
            return Ok((sorted.more, sorted.count));
        }
        let sent = i64::try_from(self.sent).unwrap_or(i64::MAX);
        if self.left.is_none() || self.is_point() {
            return Ok((false, sent));
        }
        // The range starts after the last sent key.
        let rest = RangeQuery {
            limit: 0,
            count_only: true,
            ..self.query.clone()
        };
        let rest = reader.range(&rest)?.count;
        Ok((rest > 0, sent.saturating_add(rest)))
    }
}

impl Chunk {
    /// Sends the chunk when it is full. Returns whether there is room for another record.
    fn make_room(&mut self, chunks: &mpsc::Sender<RangeStreamResponse>) -> bool {
        let first = !self.first_was_sent && self.kvs.len() >= FIRST_CHUNK_KEYS;
        if !first && self.bytes < CHUNK_BYTES {
            return true;
        }
        let Ok(room) = chunks.try_reserve() else {
            return false;
        };
        let kvs = self.take();
        room.send(response(RangeResponse {
            kvs,
            ..RangeResponse::default()
        }));
        true
    }

    fn add(&mut self, kv: KeyValue) {
        let kv = reply::key_value(kv);
        self.bytes += kv.encoded_len();
        self.kvs.push(kv);
    }

    fn take(&mut self) -> Vec<mvccpb::KeyValue> {
        self.first_was_sent = true;
        self.bytes = 0;
        mem::take(&mut self.kvs)
    }
}

const fn response(chunk: RangeResponse) -> RangeStreamResponse {
    RangeStreamResponse {
        range_response: Some(chunk),
    }
}

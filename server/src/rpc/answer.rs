//! Large answers: encoded where they were read, handed to the transport in pieces.
//!
//! An answer of many keys that is encoded as one message on the runtime's thread stops everything
//! else for as long. This one is encoded on the thread that reads, is charged to the account of
//! answers until it was sent, and ends when its client does not take it. Small answers go the usual
//! way.
//!
//! Invariant: the bytes are those that the message would have had.

mod service;

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use parking_lot::Mutex;
use prost::Message;
use tenure_proto::{etcdserverpb::RangeResponse, mvccpb};
use tokio::time::sleep;
use tonic::{Response, Status};

pub(super) use self::service::WithAnswers;
use super::{
    bulk::{Held, Memory, Turn},
    status::{self, Reason},
};
use crate::tasks;

/// What an answer may be and still go the usual way.
pub(super) const SMALL_BYTES_MAX: usize = 64 * 1024;
/// A piece of an answer. What a client does not read of a stream stays below two of them.
const PIECE_BYTES: usize = 64 * 1024;
/// How long a client may read nothing of an answer before the answer ends.
pub(super) const UNREAD_MAX: Duration = Duration::from_secs(30);
/// What a message has before it: that it is not compressed, and its length.
const PREFIX_LEN: usize = 5;
/// What a record costs beside its key and value, about.
const RECORD_BYTES: usize = 32;
/// Records that are encoded together.
const BATCH_BYTES: usize = 16 * 1024;

/// A large answer, as it travels through the layers in a response's extensions.
#[derive(Clone, Debug)]
pub(super) struct Answer(Arc<Mutex<Unsent>>);

#[derive(Debug, Default)]
struct Unsent {
    pieces: VecDeque<Bytes>,
    held: Held,
    /// How many pieces were taken.
    taken: u64,
    end: End,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Due,
    Told,
    Unread,
}

impl Answer {
    /// `message`, or an answer in its place when it is large.
    pub(super) fn unless_small<M: Message>(
        turn: &Turn,
        message: M,
    ) -> Result<Result<M, Self>, Reason> {
        if message.encoded_len() <= SMALL_BYTES_MAX {
            return Ok(Ok(message));
        }
        Self::of(&message, turn.take_held()).map(Err)
    }

    /// An answer that is `message`, of which `held` is what it takes.
    pub(super) fn of(message: &impl Message, held: Held) -> Result<Self, Reason> {
        let mut rest = Bytes::from(message.encode_to_vec());
        let mut pieces = VecDeque::new();
        while !rest.is_empty() {
            pieces.push_back(rest.split_to(rest.len().min(PIECE_BYTES)));
        }
        Self::new(pieces, held)
    }

    /// `message` that was read on the spot, or an answer in its place when it is large. Refused
    /// when there is no memory for it.
    pub(super) fn of_read<M: Message>(
        message: M,
        memory: &Memory,
    ) -> Result<Result<M, Self>, Reason> {
        let bytes = message.encoded_len();
        if bytes <= SMALL_BYTES_MAX {
            return Ok(Ok(message));
        }
        let held = memory.take_now(bytes).ok_or(Reason::TooManyRequests)?;
        Self::of(&message, held).map(Err)
    }

    /// The response to a write that was done. It is not refused for want of memory: then it is not
    /// charged, and ends as every large answer does when it is not read.
    pub(super) fn of_write<M: Message + Default>(
        message: M,
        memory: &Memory,
    ) -> Result<Response<M>, Reason> {
        let bytes = message.encoded_len();
        if bytes <= SMALL_BYTES_MAX {
            return Ok(Response::new(message));
        }
        let held = memory.take_now(bytes).unwrap_or_default();
        let answer = Self::of(&message, held)?;
        Ok(answer.instead_of(Response::new(M::default())))
    }

    /// The response that stands for the answer until it is sent.
    pub(super) fn instead_of<M>(self, mut response: Response<M>) -> Response<M> {
        response.extensions_mut().insert(self);
        response
    }

    /// An answer of these pieces, which are one message.
    fn new(mut pieces: VecDeque<Bytes>, held: Held) -> Result<Self, Reason> {
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let length = u32::try_from(length)
            .ok()
            .filter(|length| i32::try_from(*length).is_ok())
            .ok_or(Reason::RangeTooLarge)?;
        let mut prefix = BytesMut::with_capacity(PREFIX_LEN);
        prefix.put_u8(0);
        prefix.put_u32(length);
        pieces.push_front(prefix.freeze());
        Ok(Self(Arc::new(Mutex::new(Unsent {
            pieces,
            held,
            taken: 0,
            end: End::Due,
        }))))
    }

    /// The body that sends it. Ends when nothing of it is taken for [`UNREAD_MAX`].
    pub(super) fn into_body(self) -> AnswerBody {
        tasks::spawn("unread-answer", expire(Arc::downgrade(&self.0)));
        AnswerBody(self.0)
    }
}

async fn expire(unsent: Weak<Mutex<Unsent>>) {
    let mut taken_before = 0;
    loop {
        sleep(UNREAD_MAX).await;
        let Some(unsent) = unsent.upgrade() else {
            return;
        };
        let mut unsent = unsent.lock();
        if unsent.taken == taken_before && unsent.end == End::Due {
            *unsent = Unsent {
                end: End::Unread,
                ..Unsent::default()
            };
            return;
        }
        taken_before = unsent.taken;
    }
}

/// The body of a response that is one large message.
#[derive(Debug)]
pub(super) struct AnswerBody(Arc<Mutex<Unsent>>);

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut unsent = self.0.lock();
        unsent.taken += 1;
        if let Some(piece) = unsent.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        unsent.held = Held::none();
        Poll::Ready(match mem::replace(&mut unsent.end, End::Told) {
            End::Due => Some(Ok(Frame::trailers(status::trailers(&Status::ok(""))))),
            End::Told => None,
            End::Unread => Some(Ok(Frame::trailers(status::trailers(
                &Reason::AnswerUnread.into(),
            )))),
        })
    }
}

/// Encodes the records of a range as they are read.
#[derive(Debug, Default)]
pub(super) struct RangePieces {
    batch: Vec<mvccpb::KeyValue>,
    batch_bytes: usize,
    /// Encoded already, but less than a piece.
    open: BytesMut,
    pieces: VecDeque<Bytes>,
    large: bool,
}

impl RangePieces {
    /// Takes the next record. Whether to go on.
    pub(super) fn push(&mut self, turn: &Turn, kv: mvccpb::KeyValue) -> bool {
        self.batch_bytes += kv.key.len() + kv.value.len() + RECORD_BYTES;
        self.batch.push(kv);
        let batch_max = if self.large {
            BATCH_BYTES
        } else {
            SMALL_BYTES_MAX
        };
        if self.batch_bytes < batch_max {
            return true;
        }
        let bytes = self.batch_bytes;
        self.large = true;
        self.encode_batch();
        turn.keep(bytes)
    }

    fn encode_batch(&mut self) {
        let part = RangeResponse {
            kvs: mem::take(&mut self.batch),
            ..RangeResponse::default()
        };
        self.batch_bytes = 0;
        let length = part.encoded_len();
        if self.open.is_empty() {
            self.open.reserve(length.max(PIECE_BYTES + BATCH_BYTES));
        }
        part.encode(&mut self.open)
            .expect("a buffer that grows takes every message");
        self.cut();
    }

    fn cut(&mut self) {
        while self.open.len() >= PIECE_BYTES {
            let piece = self.open.split_to(PIECE_BYTES).freeze();
            self.pieces.push_back(piece);
        }
    }

    /// The response, of which `rest` is all but the records; or the answer, when it is large.
    pub(super) fn finish(
        mut self,
        turn: &Turn,
        rest: RangeResponse,
    ) -> Result<Result<RangeResponse, Answer>, Reason> {
        if !self.large {
            return Ok(Ok(RangeResponse {
                kvs: self.batch,
                ..rest
            }));
        }
        self.encode_batch();
        let head = RangeResponse {
            header: rest.header,
            ..RangeResponse::default()
        };
        let tail = RangeResponse {
            header: None,
            ..rest
        };
        self.pieces.push_front(head.encode_to_vec().into());
        tail.encode(&mut self.open)
            .expect("a buffer that grows takes every message");
        self.pieces.push_back(self.open.split().freeze());
        Answer::new(self.pieces, turn.take_held()).map(Err)
    }
}

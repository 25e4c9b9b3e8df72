//! Large answers: encoded on the thread that read them, sent in pieces.
//!
//! A response of many keys that is encoded as one message on the runtime's thread stalls all other
//! work. A large answer is encoded on the reading thread, charged to the account of answers until
//! it is sent, and ended when its client does not read it: after a time, or when it reads too
//! slowly while others wait for memory. Small responses take the usual path. The messages of a
//! stream are treated as large answers when they are larger than what its call is charged for.
//!
//! Invariants: the bytes are those of the messages; no piece keeps the memory of others.

mod range;
mod service;

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{StreamExt, stream::BoxStream};
use http_body::{Body, Frame};
use parking_lot::Mutex;
use prost::Message;
use tokio::time::{Instant, sleep};
use tonic::{Response, Status};

pub(in crate::rpc) use self::{
    range::RangePieces,
    service::{MessagePath, WithAnswers},
};
use super::{
    bulk::{Held, Memory, Turn},
    failure::Failure,
    status::{self, Reason},
    written::until_written,
};
use crate::tasks;

/// Size up to which an answer takes the usual path: it is charged with its call.
pub(in crate::rpc) const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Size up to which a message of a stream is charged with its call: a stream may stay open unread,
/// and there may be as many as calls.
const SMALL_MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// A piece of an answer. The transport holds one for each call that is not read, also after the
/// answer was ended. As many as there may be calls are half of the memory of all answers.
const PIECE_BYTES: usize = 16 * 1024;
/// How long a client may read nothing of an answer before the answer ends.
pub(in crate::rpc) const UNREAD_MAX: Duration = Duration::from_secs(30);
/// The prefix of a gRPC message: the compression flag and the length.
const PREFIX_LEN: usize = 5;
/// How often the client's progress is checked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Bytes that a client must read in that time while others wait for memory: 64 KiB a second, a
/// fraction of the slowest lines. With less, a few clients could hold all memory for hours.
const READ_BYTES_MIN: usize = 5 * 64 * 1024;

/// A large answer, which travels through the layers in a response's extensions.
#[derive(Clone)]
pub(in crate::rpc) struct Answer(Arc<Mutex<Unsent>>);

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

/// The messages of a stream, encoded.
type Messages = BoxStream<'static, Result<Bytes, Status>>;

#[derive(Default)]
struct Unsent {
    pieces: VecDeque<Bytes>,
    /// What the pieces are charged to. One that is taken takes its part along, until it is written.
    held: Held,
    /// How often data was taken, and how many bytes.
    taken: u64,
    taken_bytes: usize,
    end: End,
    /// Messages that follow the pieces; only of a stream.
    messages: Option<(Messages, Memory)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Sent,
    Unread,
}

impl Answer {
    /// `message`, or an answer in its place when it is large.
    pub(in crate::rpc) fn unless_small<M: Message>(
        turn: &Turn,
        message: M,
    ) -> Result<Result<M, Self>, Failure> {
        if message.encoded_len() <= SMALL_BYTES_MAX {
            return Ok(Ok(message));
        }
        Self::of(message, turn.take_held()).map(Err)
    }

    /// An answer that is `message`, whose memory is `held`.
    fn of(message: impl Message, held: Held) -> Result<Self, Failure> {
        let encoded = message.encode_to_vec();
        drop(message);
        // Copies, so that a piece that waits in the transport does not keep all others.
        let pieces = encoded.chunks(PIECE_BYTES).map(Bytes::copy_from_slice);
        Self::new(pieces.collect(), held)
    }

    /// The messages of a stream, of which the large ones are sent as answers. A message for which
    /// there is no memory ends the stream.
    fn of_stream(messages: Messages, memory: Memory) -> Self {
        Self(Arc::new(Mutex::new(Unsent {
            messages: Some((messages, memory)),
            ..Unsent::default()
        })))
    }

    /// The response to a read that was made on the runtime's thread.
    ///
    /// # Errors
    /// When it is large and there is no memory for it.
    pub(in crate::rpc) fn of_read<M: Message + Default>(
        message: M,
        memory: &Memory,
    ) -> Result<Response<M>, Failure> {
        let bytes = message.encoded_len();
        if bytes <= SMALL_BYTES_MAX {
            return Ok(Response::new(message));
        }
        let held = memory.take_now(bytes).ok_or(Reason::TooManyRequests)?;
        Ok(Self::response(Err(Self::of(message, held)?)))
    }

    /// The response to a write that took effect.
    ///
    /// # Errors
    /// When it is large and there is no memory for it; the response is dropped then.
    pub(in crate::rpc) fn of_write<M: Message + Default>(
        message: M,
        memory: &Memory,
    ) -> Result<Response<M>, Failure> {
        let bytes = message.encoded_len();
        if bytes <= SMALL_BYTES_MAX {
            return Ok(Response::new(message));
        }
        let held = memory.take_now(bytes).ok_or(Reason::AnswerDropped)?;
        Ok(Self::response(Err(Self::of(message, held)?)))
    }

    /// The response that carries a message, or the large answer in its place.
    pub(in crate::rpc) fn response<M: Default>(message: Result<M, Self>) -> Response<M> {
        match message {
            Ok(message) => Response::new(message),
            Err(answer) => answer.instead_of(Response::new(M::default())),
        }
    }

    /// The response that carries the answer until it is sent.
    pub(in crate::rpc) fn instead_of<M>(self, mut response: Response<M>) -> Response<M> {
        response.extensions_mut().insert(self);
        response
    }

    /// An answer of these pieces, which are one message. Keeps of `held` what it needs.
    fn new(mut pieces: VecDeque<Bytes>, mut held: Held) -> Result<Self, Failure> {
        let length = pieces.iter().map(Bytes::len).sum();
        pieces.push_front(prefix(length)?);
        let held = held.split(length);
        Ok(Self(Arc::new(Mutex::new(Unsent {
            pieces,
            held,
            ..Unsent::default()
        }))))
    }

    /// The body that sends it. Ends when nothing of it is taken for [`UNREAD_MAX`], unless it is a
    /// stream.
    pub(in crate::rpc) fn into_body(self) -> AnswerBody {
        if self.0.lock().messages.is_none() {
            tasks::spawn("unread-answer", expire(Arc::downgrade(&self.0)));
        }
        AnswerBody(self.0)
    }
}

/// The prefix of a message of this length.
fn prefix(length: usize) -> Result<Bytes, Failure> {
    let length = u32::try_from(length)
        .ok()
        .filter(|length| i32::try_from(*length).is_ok())
        .ok_or(Reason::RangeTooLarge)?;
    let mut prefix = BytesMut::with_capacity(PREFIX_LEN);
    prefix.put_u8(0);
    prefix.put_u32(length);
    Ok(prefix.freeze())
}

/// A message with its prefix.
fn framed(message: &impl Message) -> Result<Bytes, Failure> {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX_LEN + length);
    framed.extend_from_slice(&prefix(length)?);
    message
        .encode(&mut framed)
        .expect("a buffer that grows takes every message");
    Ok(framed.freeze())
}

/// Ends an answer that is not read, or is read slowly while others wait for memory. A stream, which
/// may rest for long, ends in the second case only.
async fn expire(unsent: Weak<Mutex<Unsent>>) {
    let mut unread_since = Instant::now();
    let (mut taken, mut taken_bytes) = (0, 0);
    loop {
        sleep(LOOK_EVERY).await;
        let Some(unsent) = unsent.upgrade() else {
            return;
        };
        let mut unsent = unsent.lock();
        let is_sent = unsent.pieces.is_empty();
        if unsent.end != End::Open || is_sent && unsent.messages.is_some() {
            return;
        }
        if unsent.taken > taken {
            unread_since = Instant::now();
        }
        let is_slow = !is_sent && unsent.taken_bytes - taken_bytes < READ_BYTES_MIN;
        let is_unread = unread_since.elapsed() >= UNREAD_MAX && unsent.messages.is_none();
        if is_unread || is_slow && unsent.held.is_wanted() {
            *unsent = Unsent {
                end: End::Unread,
                ..Unsent::default()
            };
            return;
        }
        (taken, taken_bytes) = (unsent.taken, unsent.taken_bytes);
    }
}

/// The body of a response of large messages.
pub(in crate::rpc) struct AnswerBody(Arc<Mutex<Unsent>>);

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut unsent = self.0.lock();
        let unsent = &mut *unsent;
        unsent.taken += 1;
        let unread = Status::from(Reason::AnswerUnread);
        let end = loop {
            if let Some(piece) = unsent.pieces.pop_front() {
                unsent.taken_bytes += piece.len();
                let held = unsent.held.split(piece.len());
                let frame = until_written(Frame::data(piece), held);
                return Poll::Ready(Some(Ok(frame)));
            }
            unsent.held = Held::none();
            match unsent.end {
                End::Sent => return Poll::Ready(None),
                End::Unread => break unread,
                End::Open => {}
            }
            let Some((messages, memory)) = &mut unsent.messages else {
                break Status::ok("");
            };
            match ready!(messages.poll_next_unpin(context)) {
                Some(Ok(message)) if message.len() <= SMALL_MESSAGE_BYTES_MAX => {
                    unsent.pieces.push_back(message);
                }
                Some(Ok(message)) => {
                    let Some(held) = memory.take_now(message.len()) else {
                        break Reason::TooManyRequests.into();
                    };
                    unsent.held = held;
                    let pieces = message.chunks(PIECE_BYTES).map(Bytes::copy_from_slice);
                    unsent.pieces.extend(pieces);
                    tasks::spawn("unread-message", expire(Arc::downgrade(&self.0)));
                }
                Some(Err(status)) => break status,
                None => break Status::ok(""),
            }
        };
        unsent.end = End::Sent;
        unsent.messages = None;
        let trailers = status::trailers(&end);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

#[cfg(test)]
mod tests;

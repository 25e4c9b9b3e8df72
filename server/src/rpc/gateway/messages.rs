//! The messages of a response as JSON, in chunks.
//!
//! A message is rendered as its pieces arrive. One that is small is one chunk, because clients
//! decode chunk by chunk; a large one is sent in several, so that it is never held whole.
//!
//! Invariant: a chunk keeps the pieces that it was made of until it is written, and with them the
//! memory that they are charged to. The text of a piece is at most a few times as long.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Body;
use tenure_json::{Malformed, MessageId, Renderer};
use tonic::Status;
use tower::BoxError;

use super::{Gateway, error::Told, request::Refused};

/// The prefix of a gRPC message: the compression flag and the length.
const PREFIX_BYTES: usize = 5;
/// Bytes of a chunk from which it is sent although its message is not complete.
const CHUNK_BYTES: usize = 64 << 10;

/// What surrounds the messages of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One message, which is all of the body.
    Whole,
    /// Each message on a line of its own, as etcd's gateway sends streams.
    Lines,
    /// Server-sent events.
    Events,
    /// Messages of a WebSocket.
    Frames,
}

impl Form {
    const fn before(self) -> &'static [u8] {
        match self {
            Self::Whole => b"",
            Self::Lines | Self::Frames => b"{\"result\":",
            Self::Events => b"data: ",
        }
    }

    const fn after(self) -> &'static [u8] {
        match self {
            Self::Whole => b"",
            Self::Lines => b"}\n",
            Self::Events => b"\n\n",
            Self::Frames => b"}",
        }
    }

    /// The chunk that tells a failure.
    pub(super) fn failure(self, told: &Told) -> Vec<u8> {
        match self {
            Self::Whole => told.body(),
            Self::Lines => [told.line(), b"\n".to_vec()].concat(),
            Self::Frames => told.line(),
            Self::Events => [b"event: error\ndata: ", &*told.line(), b"\n\n"].concat(),
        }
    }
}

/// Why there are no more chunks.
#[derive(Debug)]
pub(super) enum Ended {
    /// The call failed, between two messages.
    Failed(Box<Status>),
    /// The response broke off within a message.
    Broken(BoxError),
}

/// The chunks of a response.
pub(super) struct Messages<R> {
    /// None once it has ended.
    source: Option<R>,
    gateway: Arc<Gateway>,
    output: MessageId,
    form: Form,
    refused: Refused,
    /// The piece that is being rendered.
    piece: Bytes,
    prefix: Vec<u8>,
    message: Option<Message>,
    chunk: Chunk,
}

/// A message that is not complete.
#[derive(Debug)]
struct Message {
    renderer: Renderer,
    /// Bytes of it that have not come.
    left: usize,
}

/// Text, and the pieces that it was made of.
#[derive(Debug, Default)]
struct Chunk {
    text: Vec<u8>,
    _pieces: Vec<Bytes>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl<R> Messages<R> {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        output: MessageId,
        form: Form,
        refused: Refused,
        source: R,
    ) -> Self {
        Self {
            source: Some(source),
            gateway,
            output,
            form,
            refused,
            piece: Bytes::new(),
            prefix: Vec::with_capacity(PREFIX_BYTES),
            message: None,
            chunk: Chunk::default(),
        }
    }

    pub(super) const fn form(&self) -> Form {
        self.form
    }

    /// Why the call failed with this status: because of its body, if that was refused.
    pub(super) fn cause(&self, status: Status) -> Status {
        self.refused.take().unwrap_or(status)
    }

    /// Whether no message has begun that is not complete.
    pub(super) const fn is_between(&self) -> bool {
        self.message.is_none() && self.prefix.is_empty()
    }

    /// Renders the piece, up to the end of a chunk. Returns whether a chunk is complete.
    fn render(&mut self) -> Result<bool, Malformed> {
        while !self.piece.is_empty() {
            let Some(message) = &mut self.message else {
                let missing = PREFIX_BYTES - self.prefix.len();
                let part = self.piece.split_to(missing.min(self.piece.len()));
                self.prefix.extend_from_slice(&part);
                if self.prefix.len() == PREFIX_BYTES && self.begin()? {
                    return Ok(true);
                }
                continue;
            };
            let own = self.piece.split_to(message.left.min(self.piece.len()));
            message.left -= own.len();
            let text = &mut self.chunk.text;
            let is_complete = message.renderer.render(&self.gateway.schema, &own, text)?;
            self.chunk._pieces.push(own);
            if is_complete {
                self.complete();
                return Ok(true);
            }
            if message.left == 0 {
                return Err(Malformed);
            }
            if text.len() >= CHUNK_BYTES {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Begins the message of the prefix. Returns whether it is complete already.
    fn begin(&mut self) -> Result<bool, Malformed> {
        let &[0, a, b, c, d] = &*self.prefix else {
            // Compressed, which was not asked for.
            return Err(Malformed);
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        self.prefix.clear();
        let text = &mut self.chunk.text;
        text.extend_from_slice(self.form.before());
        let mut renderer = Renderer::new(self.output, length, text);
        if renderer.render(&self.gateway.schema, &[], text)? {
            self.complete();
            return Ok(true);
        }
        self.message = Some(Message {
            renderer,
            left: length,
        });
        Ok(false)
    }

    fn complete(&mut self) {
        self.chunk.text.extend_from_slice(self.form.after());
        self.message = None;
    }

    /// The end of the response with this status.
    fn end(&mut self, status: Option<Status>) -> Option<Result<Bytes, Ended>> {
        self.source = None;
        let failed = status.filter(|status| i32::from(status.code()) != 0);
        if !self.is_between() {
            let cause = failed.map_or_else(|| Malformed.into(), Into::into);
            return Some(Err(Ended::Broken(cause)));
        }
        let failed = self.refused.take().or(failed)?;
        Some(Err(Ended::Failed(Box::new(failed))))
    }
}

impl<R> Messages<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    /// The next chunk.
    pub(super) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Ended>>> {
        loop {
            match self.render() {
                Ok(true) => {
                    let chunk = std::mem::take(&mut self.chunk);
                    return Poll::Ready(Some(Ok(Bytes::from_owner(chunk))));
                }
                Ok(false) => {}
                Err(malformed) => {
                    self.source = None;
                    self.piece = Bytes::new();
                    return Poll::Ready(Some(Err(Ended::Broken(malformed.into()))));
                }
            }
            let Some(source) = &mut self.source else {
                return Poll::Ready(None);
            };
            match ready!(Pin::new(source).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Poll::Ready(self.end(Status::from_header_map(&trailers)));
                    }
                },
                Some(Err(error)) => {
                    self.source = None;
                    return Poll::Ready(Some(Err(Ended::Broken(error.into()))));
                }
                None => return Poll::Ready(self.end(None)),
            }
        }
    }
}

impl<R> fmt::Debug for Messages<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages")
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

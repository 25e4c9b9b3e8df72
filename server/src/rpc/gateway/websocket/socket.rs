//! The task of one WebSocket: reads the client's messages into the body of its call, and writes the
//! messages of the response.
//!
//! Nothing is read while the call takes nothing, and nothing of the response is taken while the
//! client takes nothing, so neither side makes the node hold more than it would over gRPC.
//!
//! Invariant: frames are written whole, one after the other.

use std::{future::poll_fn, io, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body::Body;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tonic::Status;
use tower::BoxError;
use tracing::debug;

use super::frame::{self, Close, Decoder, Event, Kind};
use crate::{
    rpc::gateway::{
        Gateway,
        error::Told,
        messages::{Ended, Form, Messages},
        request::Refused,
        routes::Route,
    },
    share::UNFINISHED_MAX,
    transport::Connection,
};

/// Time for the response that ends HTTP to be written.
const HANDOVER_MAX: Duration = Duration::from_secs(10);
/// Bytes that are read at once. What is read before the call takes it is not charged.
const READ_BYTES: usize = 16 << 10;
/// Silence after which a client is pinged, as often as one of gRPC.
const PING_AFTER: Duration = Duration::from_secs(60);
/// Time for anything to come from a client that was pinged.
const PONG_MAX: Duration = Duration::from_secs(20);
/// Time for the other side to close as well.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// Longest payload that is copied behind the head of its frame, so that both are one packet.
const JOINED_BYTES_MAX: usize = 4 << 10;

/// The call of a WebSocket.
pub(in crate::rpc::gateway) struct Call<F> {
    pub(in crate::rpc::gateway) response: F,
    pub(in crate::rpc::gateway) gateway: Arc<Gateway>,
    pub(in crate::rpc::gateway) route: Route,
    /// Why the body was refused, once it was.
    pub(in crate::rpc::gateway) refused: Refused,
}

/// What the reader tells the writer.
struct Control {
    pending: Mutex<Pending>,
    changed: Notify,
}

#[derive(Debug)]
struct Pending {
    /// The latest ping, which is the only one that must be answered.
    ping: Option<Bytes>,
    close: Option<Close>,
    heard: Instant,
    /// When the client was pinged, if nothing was heard since.
    pinged: Option<Instant>,
}

/// What is to be written beside messages.
enum Step {
    Pong(Bytes),
    Ping,
    Close(Close),
    /// The client is gone.
    Lost,
}

/// Serves a WebSocket until either side ends it. `objects` takes the body of the call.
pub(in crate::rpc::gateway) async fn serve<F, R, E>(
    handover: oneshot::Receiver<Connection>,
    objects: mpsc::Sender<Bytes>,
    call: Call<F>,
) where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    let Ok(Ok(connection)) = timeout(HANDOVER_MAX, handover).await else {
        debug!("a connection did not become a WebSocket");
        return;
    };
    run(connection, objects, call).await;
}

async fn run<F, R, E>(
    connection: impl AsyncRead + AsyncWrite,
    objects: mpsc::Sender<Bytes>,
    call: Call<F>,
) where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    let (reader, writer) = split(connection);
    let control = Control::new();
    let source = Source {
        decoder: Decoder::new(call.gateway.body_bytes_max),
        takes_more: call.route.client_streaming,
        objects: Some(objects),
    };
    let mut reading = pin!(source.read(reader, &control));
    let mut writing = pin!(write(Writer(writer), call, &control));
    tokio::select! {
        // Cancel-safe: what did not end goes on below.
        close = &mut reading => {
            let Some(close) = close else {
                return;
            };
            control.close(close);
            // The connection is closed when this passes.
            _ = timeout(CLOSE_MAX, writing).await;
        }
        written = &mut writing => {
            if written.is_ok() {
                // Reading on until the client closes, as it would lose what it has not read yet.
                _ = timeout(CLOSE_MAX, reading).await;
            }
        }
    }
}

impl Control {
    fn new() -> Self {
        Self {
            pending: Mutex::new(Pending {
                ping: None,
                close: None,
                heard: Instant::now(),
                pinged: None,
            }),
            changed: Notify::new(),
        }
    }

    fn heard(&self) {
        let mut pending = self.pending.lock();
        pending.heard = Instant::now();
        pending.pinged = None;
    }

    fn ping(&self, payload: Bytes) {
        self.pending.lock().ping = Some(payload);
        self.changed.notify_one();
    }

    fn close(&self, close: Close) {
        self.pending.lock().close = Some(close);
        self.changed.notify_one();
    }

    /// What is to be written next beside messages.
    ///
    /// # Cancel safety
    /// Nothing is lost: a step is taken when this returns.
    async fn step(&self) -> Step {
        loop {
            let due = match self.take() {
                Ok(step) => return step,
                Err(due) => due,
            };
            tokio::select! {
                // Cancel-safe: both only wake this, which looks again.
                () = self.changed.notified() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// What is to be written, or when to look again.
    fn take(&self) -> Result<Step, Instant> {
        let mut pending = self.pending.lock();
        if let Some(close) = pending.close.take() {
            return Ok(Step::Close(close));
        }
        if let Some(ping) = pending.ping.take() {
            return Ok(Step::Pong(ping));
        }
        let now = Instant::now();
        let due = pending
            .pinged
            .map_or(pending.heard + PING_AFTER, |it| it + PONG_MAX);
        if now < due {
            return Err(due);
        }
        if pending.pinged.is_some() {
            return Ok(Step::Lost);
        }
        pending.pinged = Some(now);
        Ok(Step::Ping)
    }
}

/// What a client sends.
struct Source {
    decoder: Decoder,
    /// Whether the call takes more than one message.
    takes_more: bool,
    /// None once the body is complete.
    objects: Option<mpsc::Sender<Bytes>>,
}

impl Source {
    /// Reads until the client closes. Returns how the WebSocket is to be closed; `None` when the
    /// connection broke.
    async fn read(mut self, reader: impl AsyncRead, control: &Control) -> Option<Close> {
        let mut reader = pin!(reader);
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        // Set while a message or a frame is not complete.
        let mut unfinished = None;
        loop {
            loop {
                match self.decoder.take(&mut buffer) {
                    Ok(None) => break,
                    Ok(Some(Event::Close(close))) | Err(close) => return Some(close),
                    Ok(Some(Event::Ping(payload))) => control.ping(payload),
                    Ok(Some(Event::Pong)) => {}
                    Ok(Some(Event::Data(data))) => self.data(data).await,
                    Ok(Some(Event::End)) => self.end(),
                }
            }
            buffer.reserve(READ_BYTES);
            if self.decoder.is_between() && buffer.is_empty() {
                unfinished = None;
            } else {
                unfinished.get_or_insert_with(|| Instant::now() + UNFINISHED_MAX);
            }
            let read = reader.read_buf(&mut buffer);
            let read = match unfinished {
                None => read.await,
                Some(until) => match timeout_at(until, read).await {
                    Ok(read) => read,
                    Err(_) => return Some(Close::Policy),
                },
            };
            match read {
                Ok(0) | Err(_) => return None,
                Ok(_) => control.heard(),
            }
        }
    }

    async fn data(&mut self, data: Bytes) {
        if let Some(objects) = &self.objects {
            // A call that has ended takes nothing; its response says why.
            _ = objects.send(data).await;
        }
    }

    fn end(&mut self) {
        if !self.takes_more {
            self.objects = None;
        }
    }
}

/// Writes the messages of the response, and what `control` asks for, until the WebSocket is closed.
///
/// # Errors
/// When the connection broke.
async fn write<F, R, E>(
    mut writer: Writer<impl AsyncWrite + Unpin>,
    call: Call<F>,
    control: &Control,
) -> io::Result<()>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    let form = if call.route.is_stream() {
        Form::Frames
    } else {
        Form::Whole
    };
    let mut response = pin!(call.response);
    let response = loop {
        tokio::select! {
            // Cancel-safe: the response goes on in the next round.
            response = &mut response => break response,
            step = control.step() => if writer.step(step).await? {
                return Ok(());
            },
        }
    };
    let Ok(response) = response else {
        return writer.close(Close::Internal).await;
    };
    let (head, body) = response.into_parts();
    let output = call.route.output;
    let mut messages = Messages::new(call.gateway, output, form, call.refused, body);
    let status = Status::from_header_map(&head.headers);
    if let Some(status) = status.filter(|status| i32::from(status.code()) != 0) {
        return writer.fail(form, &messages.cause(status)).await;
    }
    let mut kind = Kind::Text;
    loop {
        let chunk = tokio::select! {
            // Cancel-safe: the messages keep what is not complete.
            chunk = poll_fn(|context| messages.poll_chunk(context)) => chunk,
            step = control.step() => {
                if writer.step(step).await? {
                    return Ok(());
                }
                continue;
            }
        };
        match chunk {
            Some(Ok(chunk)) => {
                let is_final = messages.is_between();
                writer.frame(kind, is_final, &chunk).await?;
                kind = if is_final {
                    Kind::Text
                } else {
                    Kind::Continuation
                };
            }
            Some(Err(Ended::Failed(status))) => return writer.fail(form, &status).await,
            Some(Err(Ended::Broken(error))) => {
                debug!(%error, "a response over a WebSocket broke");
                return writer.close(Close::Internal).await;
            }
            None => return writer.close(Close::Normal).await,
        }
    }
}

/// Writes frames.
struct Writer<W>(W);

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn frame(&mut self, kind: Kind, is_final: bool, payload: &[u8]) -> io::Result<()> {
        let mut head = frame::head(kind, is_final, payload.len());
        if payload.len() <= JOINED_BYTES_MAX {
            head.extend_from_slice(payload);
            self.0.write_all(&head).await?;
        } else {
            self.0.write_all(&head).await?;
            self.0.write_all(payload).await?;
        }
        self.0.flush().await
    }

    /// Returns whether the WebSocket is closed.
    async fn step(&mut self, step: Step) -> io::Result<bool> {
        match step {
            Step::Pong(payload) => self.frame(Kind::Pong, true, &payload).await?,
            Step::Ping => self.frame(Kind::Ping, true, &[]).await?,
            Step::Close(close) => {
                self.close(close).await?;
                return Ok(true);
            }
            Step::Lost => return Err(io::ErrorKind::TimedOut.into()),
        }
        Ok(false)
    }

    /// Says why the call failed, and closes.
    async fn fail(&mut self, form: Form, status: &Status) -> io::Result<()> {
        let text = form.failure(&Told::from(status));
        self.frame(Kind::Text, true, &text).await?;
        self.close(Close::Normal).await
    }

    async fn close(&mut self, close: Close) -> io::Result<()> {
        self.0.write_all(&frame::closing(close)).await?;
        self.0.flush().await
    }
}

#[cfg(test)]
mod tests;

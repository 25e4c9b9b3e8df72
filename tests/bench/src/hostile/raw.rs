//! Calls whose answers are counted or left unread, and never decoded.
//!
//! An answer of a hundred megabytes that is decoded costs this program more than its making cost
//! the server, and would be measured with it.

use std::marker::PhantomData;

use anyhow::Result;
use bytes::Buf;
use prost::Message;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

/// The path of a range, of a streamed one, and of a transaction.
pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(super) const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
pub(super) const TXN: &str = "/etcdserverpb.KV/Txn";

/// A connection of its own.
pub(super) async fn connect(url: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(url.to_owned())?
        .tcp_nodelay(true)
        .connect()
        .await?)
}

/// Sends a request and returns when the head of the answer has come; the rest is left unread.
pub(super) async fn open<M>(
    channel: Channel,
    path: &'static str,
    message: M,
) -> Result<Streaming<usize>, Status>
where
    M: Message + 'static,
{
    let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(path);
    let opened = grpc.server_streaming(Request::new(message), path, Counting(PhantomData));
    Ok(opened.await?.into_inner())
}

/// The bytes of the whole answer.
pub(super) async fn whole<M>(
    channel: Channel,
    path: &'static str,
    message: M,
) -> Result<usize, Status>
where
    M: Message + 'static,
{
    let mut stream = open(channel, path, message).await?;
    let mut bytes = 0;
    while let Some(more) = stream.message().await? {
        bytes += more;
    }
    Ok(bytes)
}

/// What came of a call, in the words of the server when it refused.
pub(super) fn said<T>(answer: Result<T, Status>) -> String {
    match answer {
        Ok(_) => "served".to_owned(),
        Err(status) => format!("{:?}, {:?}", status.code(), status.message()),
    }
}

/// Encodes requests; of answers it knows the length.
struct Counting<M>(PhantomData<M>);

impl<M: Message + 'static> Codec for Counting<M> {
    type Encode = M;
    type Decode = usize;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self {
        Self(PhantomData)
    }
}

impl<M: Message> Encoder for Counting<M> {
    type Item = M;
    type Error = Status;

    fn encode(&mut self, message: M, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message
            .encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl<M> Decoder for Counting<M> {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let bytes = buffer.remaining();
        buffer.advance(bytes);
        Ok(Some(bytes))
    }
}

//! Streaming reads of ranges, for responses too large for one message.
//!
//! All pieces show the store at one revision. The server decides how large they are.

use futures::{Stream, stream};
use tenure_proto::etcdserverpb::{RangeStreamResponse, kv_client::KvClient};
use tonic::Streaming;

use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    kv::Get,
    prefix::Prefix,
    response::GetResponse,
};

/// Pieces of a range, in key order. Made by [`Get::stream`].
#[derive(Debug)]
#[must_use = "a range is read piece by piece"]
pub struct RangeStream {
    pieces: Streaming<RangeStreamResponse>,
    prefix: Prefix,
}

impl Get<Client> {
    /// Reads the range as a stream of pieces instead of in one response.
    ///
    /// The pieces are in key order; the last one carries header, count and `more`.
    ///
    /// # Errors
    /// [`Unimplemented`](crate::ErrorKind::Unimplemented) from a server without this call, or for a
    /// sort order or a revision filter, which need the whole range at once.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn stream(self) -> Result<RangeStream, Error> {
        let call = Call::stream(Lane::Bulk, self.timeout).with_freshness(self.freshness);
        let (client, prefix, mut request) = (self.client, self.prefix, self.request);
        prefix.add_to(&mut request)?;
        let pieces = rpc!(client, call, KvClient.range_stream(request)).await?;
        Ok(RangeStream { pieces, prefix })
    }
}

impl RangeStream {
    /// The next piece, or nothing after the last one.
    ///
    /// # Errors
    /// The error that broke the stream. It is not resumed: read again from the last key at the same
    /// revision.
    ///
    /// # Cancel safety
    /// Cancel safe: no piece is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<GetResponse>, Error> {
        let piece = self.pieces.message().await;
        let piece =
            piece.map_err(|status| Error::from_status(status, Operation::Read, "server"))?;
        Ok(piece.map(|piece| {
            let mut message = piece.range_response.unwrap_or_default();
            self.prefix.strip_from(&mut message);
            GetResponse::of(message)
        }))
    }

    /// The pieces as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<GetResponse, Error>> {
        stream::try_unfold(self, |mut pieces| async move {
            Ok(pieces.next().await?.map(|piece| (piece, pieces)))
        })
    }

    /// Collects all pieces into the response of a plain read.
    ///
    /// # Errors
    /// The error that broke the stream.
    ///
    /// # Cancel safety
    /// Dropping the future loses the pieces read so far.
    pub async fn collect(mut self) -> Result<GetResponse, Error> {
        let mut whole = GetResponse::default();
        while let Some(mut piece) = self.next().await? {
            whole.kvs.append(&mut piece.kvs);
            whole.header = piece.header.or(whole.header);
            whole.count = whole.count.max(piece.count);
            whole.more |= piece.more;
        }
        Ok(whole)
    }
}

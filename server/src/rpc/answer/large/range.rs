//! The answer to a range, encoded as its records are read.

use std::{collections::VecDeque, mem};

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use tenure_proto::{etcdserverpb::RangeResponse, mvccpb};

use super::{Answer, PIECE_BYTES, SMALL_BYTES_MAX};
use crate::rpc::answer::{bulk::Turn, failure::Failure};

/// Approximate cost of a record beside its key and value.
const RECORD_BYTES: usize = 32;
/// Records that are encoded together.
const BATCH_BYTES: usize = 16 * 1024;

/// Encodes the records of a range as they are read.
#[derive(Debug, Default)]
pub(in crate::rpc) struct RangePieces {
    batch: Vec<mvccpb::KeyValue>,
    batch_bytes: usize,
    /// Encoded, but less than a piece.
    open: BytesMut,
    pieces: VecDeque<Bytes>,
    large: bool,
}

impl RangePieces {
    /// Adds a record. Returns whether to continue.
    pub(in crate::rpc) fn push(&mut self, turn: &Turn, kv: mvccpb::KeyValue) -> bool {
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
            // A copy, so that a piece that waits in the transport does not keep all others.
            let piece = Bytes::copy_from_slice(&self.open[..PIECE_BYTES]);
            self.open.advance(PIECE_BYTES);
            self.pieces.push_back(piece);
        }
    }

    /// The response, whose fields except the records are `rest`; or the answer, when it is large.
    pub(in crate::rpc) fn finish(
        mut self,
        turn: &Turn,
        rest: RangeResponse,
    ) -> Result<Result<RangeResponse, Answer>, Failure> {
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

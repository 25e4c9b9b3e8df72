//! The codec of the generated services: prost's, but it refuses a transaction of too many
//! operations before it decodes it.
//!
//! How many are too many, and with what status, is said by the server, for the task that serves the
//! call; where nothing is said there is no bound.

use std::marker::PhantomData;
#[cfg(feature = "server")]
use std::{any::TypeId, fmt};

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// The codec of messages `T` that are sent and `U` that are received.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstCodec::<T, U>::raw_decoder(BufferSettings::default()))
    }
}

/// The decoder of [`BoundedCodec`].
#[derive(Debug)]
pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + 'static> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        #[cfg(feature = "server")]
        check::<U>(bytes::Buf::chunk(message))?;
        self.0.decode(message)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// The bound of the transactions that a task receives.
#[cfg(feature = "server")]
#[derive(Clone, Copy)]
pub struct OperationsBound {
    /// Most operations and comparisons, those of transactions within included.
    pub operations_max: usize,
    /// The refusal of more.
    pub refusal: fn() -> Status,
}

#[cfg(feature = "server")]
impl fmt::Debug for OperationsBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationsBound")
            .field("operations_max", &self.operations_max)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "server")]
tokio::task_local! {
    /// The bound of the transactions that this task receives.
    pub static OPERATIONS_BOUND: OperationsBound;
}

/// Refuses a message with too many operations. `message` is all of it: the transport keeps a
/// message in one piece.
#[cfg(feature = "server")]
fn check<U: 'static>(message: &[u8]) -> Result<(), Status> {
    use crate::{
        etcdserverpb::TxnRequest,
        operations::{self, Kind},
        v1::SetWillRequest,
    };

    let received = TypeId::of::<U>();
    let kind = if received == TypeId::of::<TxnRequest>() {
        Kind::Txn
    } else if received == TypeId::of::<SetWillRequest>() {
        Kind::Will
    } else {
        return Ok(());
    };
    let Ok(bound) = OPERATIONS_BOUND.try_with(|bound| *bound) else {
        return Ok(());
    };
    if operations::exceed(message, kind, bound.operations_max) {
        return Err((bound.refusal)());
    }
    Ok(())
}

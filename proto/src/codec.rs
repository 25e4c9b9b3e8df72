//! The codec of the generated services: prost's, but it refuses a transaction of too many
//! operations before it decodes it.
//!
//! The server sets the bound and the status of the refusal per task; without them there is no
//! bound. The same applies to the memory of messages: the transport keeps a buffer as large as the
//! largest message of a stream for as long as the stream lasts, so the decoder charges that much to
//! the account of the task that created it.

use std::marker::PhantomData;
#[cfg(feature = "server")]
use std::{any::TypeId, fmt, sync::Arc};

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
        BoundedDecoder {
            inner: ProstCodec::<T, U>::raw_decoder(BufferSettings::default()),
            #[cfg(feature = "server")]
            memory: Memory::default(),
        }
    }
}

/// The decoder of [`BoundedCodec`].
#[derive(Debug)]
pub struct BoundedDecoder<U> {
    inner: ProstDecoder<U>,
    #[cfg(feature = "server")]
    memory: Memory,
}

impl<U: Message + Default + 'static> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        #[cfg(feature = "server")]
        {
            let message = bytes::Buf::chunk(message);
            self.memory.charge(message.len())?;
            check::<U>(message)?;
        }
        self.inner.decode(message)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.inner.buffer_settings()
    }
}

/// The bound of the transactions that a task receives.
#[cfg(feature = "server")]
#[derive(Clone, Copy)]
pub struct OperationsBound {
    /// Most operations and comparisons, including those of nested transactions.
    pub operations_max: usize,
    /// Returns the status for a message with more.
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

/// The account that the messages of a task are charged to.
#[cfg(feature = "server")]
pub trait MessageAccount: Send + Sync {
    /// Charges `bytes` until the result is dropped.
    ///
    /// # Errors
    /// The refusal, when the account has too little memory left.
    fn charge(&self, bytes: usize) -> Result<ChargedMessage, Status>;
}

/// Memory that is charged until this is dropped.
#[cfg(feature = "server")]
pub type ChargedMessage = Box<dyn Send + Sync>;

#[cfg(feature = "server")]
tokio::task_local! {
    /// The bound of the transactions that this task receives.
    pub static OPERATIONS_BOUND: OperationsBound;
    /// The account of the messages that this task receives.
    pub static MESSAGE_ACCOUNT: Arc<dyn MessageAccount>;
}

/// Messages up to this size are not charged: an open call is charged for that much anyway.
#[cfg(feature = "server")]
const UNCHARGED_BYTES: usize = 8 << 10;

/// The memory charged for the messages of one call.
#[cfg(feature = "server")]
struct Memory {
    account: Option<Arc<dyn MessageAccount>>,
    /// The size that is charged or free: a power of two, so that a stream with growing messages is
    /// charged again only a few times.
    covered: usize,
    charged: Vec<ChargedMessage>,
}

#[cfg(feature = "server")]
impl Default for Memory {
    /// Uses the account of the task that creates it.
    fn default() -> Self {
        Self {
            account: MESSAGE_ACCOUNT.try_with(Arc::clone).ok(),
            covered: UNCHARGED_BYTES,
            charged: Vec::new(),
        }
    }
}

#[cfg(feature = "server")]
impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("covered", &self.covered)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "server")]
impl Memory {
    /// Charges for a message of `bytes`.
    fn charge(&mut self, bytes: usize) -> Result<(), Status> {
        if bytes <= self.covered {
            return Ok(());
        }
        let Some(account) = &self.account else {
            return Ok(());
        };
        let covered = bytes.next_power_of_two();
        self.charged.push(account.charge(covered - self.covered)?);
        self.covered = covered;
        Ok(())
    }
}

/// Refuses a message with too many operations. `message` is the complete message: the transport
/// keeps it in one piece.
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

#[cfg(all(test, feature = "server"))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The charged part of a mebibyte.
    #[derive(Default)]
    struct Account(Arc<AtomicUsize>);

    struct Held(Arc<AtomicUsize>, usize);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(self.1, Ordering::Relaxed);
        }
    }

    impl MessageAccount for Account {
        fn charge(&self, bytes: usize) -> Result<ChargedMessage, Status> {
            let all = self.0.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let held = Held(Arc::clone(&self.0), bytes);
            if all > 1 << 20 {
                return Err(Status::resource_exhausted("full"));
            }
            Ok(Box::new(held))
        }
    }

    #[test]
    fn a_stream_is_charged_for_its_largest_message_as_long_as_it_lasts() {
        let charged = Arc::new(AtomicUsize::new(0));
        let account: Arc<dyn MessageAccount> = Arc::new(Account(Arc::clone(&charged)));
        let mut memory = MESSAGE_ACCOUNT.sync_scope(account, Memory::default);
        let mut after = |bytes: usize| {
            let taken = memory.charge(bytes).is_ok();
            (taken, charged.load(Ordering::Relaxed))
        };
        assert_eq!(after(8 << 10), (true, 0), "covered by the call");
        assert_eq!(after((8 << 10) + 1), (true, 8 << 10));
        assert_eq!(after(16 << 10), (true, 8 << 10));
        assert_eq!(after(1 << 20), (true, (1 << 20) - (8 << 10)));
        assert_eq!(after(3), (true, (1 << 20) - (8 << 10)), "the buffer stays");
        assert!(!after((1 << 20) + 1).0, "there is no memory for more");
        drop(memory);
        assert_eq!(charged.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn messages_without_an_account_are_not_charged() {
        assert!(Memory::default().charge(usize::MAX >> 1).is_ok());
    }
}

//! Data that holds on to the memory it is charged to until it is written to the socket.
//!
//! What a body hands over waits in the connection for as long as the client takes nothing of it,
//! and the body is gone by then. So the data itself holds the charge.

use bytes::Bytes;
use http_body::Frame;

/// Marks a response whose body charges the messages that it hands over.
#[derive(Clone, Copy, Debug)]
pub(in crate::rpc) struct ChargesItself;

/// Data, and what it is charged to.
struct Charged<T> {
    data: Bytes,
    _held: T,
}

impl<T> AsRef<[u8]> for Charged<T> {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// The same frame, whose data keeps `held` until the transport drops it.
pub(in crate::rpc) fn until_written<T: Send + Sync + 'static>(
    frame: Frame<Bytes>,
    held: T,
) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(data) => Frame::data(Bytes::from_owner(Charged { data, _held: held })),
        Err(frame) => frame,
    }
}

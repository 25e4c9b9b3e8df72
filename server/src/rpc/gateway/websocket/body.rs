//! The messages of a WebSocket as the body of a request.

use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces that wait for the call to read them: one, so that a client whose call reads nothing is
/// read no further.
const PIECES_MAX: usize = 1;

/// The body; ends when its sender is dropped.
#[derive(Debug)]
pub(in crate::rpc::gateway) struct SocketBody(mpsc::Receiver<Bytes>);

impl SocketBody {
    /// A body, and where its pieces come from.
    pub(in crate::rpc::gateway) fn channel() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        (sender, Self(receiver))
    }

    pub(in crate::rpc::gateway) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Bytes>> {
        self.0.poll_recv(context)
    }
}

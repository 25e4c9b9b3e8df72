//! Calls over WebSockets, as the gateway of etcd serves them: the messages of the client are the
//! objects of the request, and each message of the response is one of the WebSocket.
//!
//! The connection is upgraded from HTTP/1.1 (RFC 6455). A page of another origin may open one only
//! if its origin is listed, since browsers open WebSockets to anywhere and let pages read them.

mod body;
mod frame;
mod handshake;
mod socket;

pub(super) use self::{
    body::SocketBody,
    handshake::{Handshake, is_asked},
    socket::{Call, serve},
};

//! Protobuf messages as JSON and back, driven by descriptors: one implementation for every message.
//!
//! Contains no I/O and no messages of its own. [`to_wire`] turns the text of one message into its
//! encoding in one pass; [`Renderer`] turns an encoding into text as it arrives, in pieces of any
//! size, so that a large message is never held whole; [`Objects`] finds the messages in a body.
//!
//! The mapping is proto3's, with the spellings of etcd's gateway: field names as in the `.proto`
//! files, 64-bit numbers as text, default values left out.

mod bytes;
mod fault;
mod number;
mod objects;
mod render;
mod schema;
mod text;
mod wire;

pub use self::{
    fault::Fault,
    objects::{DEPTH_MAX, Objects},
    render::{Malformed, Renderer},
    schema::{MessageId, Method, Schema, SchemaError},
    wire::to_wire,
};

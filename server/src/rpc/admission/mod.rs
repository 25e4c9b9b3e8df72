//! Who calls, and what the call may do: the one place where both are decided.
//!
//! [`layer`] finds out who makes a call before any handler sees it, and refuses what the table of
//! methods forbids at once. What depends on the request is decided by `Services::allow` for reads
//! and by `Services::propose` for writes, which alone make a [`Permit`] and an [`Allowed`].
//!
//! Invariant: a command of a client carries its user and the auth revision at which its needs were
//! met; a read checks its needs in the state that it reads.

mod asked;
pub(in crate::rpc) mod audit;
mod caller;
mod catch_up;
mod gate;
mod identify;
mod layer;
mod permit;
mod stream_caller;
mod table;

pub(in crate::rpc) use self::layer::AdmissionLayer;
pub(in crate::rpc) use self::{
    caller::Caller,
    catch_up::catch_up,
    gate::{Allowed, Gate},
    permit::Permit,
    stream_caller::StreamCaller,
};

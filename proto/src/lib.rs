//! The wire of tenure: messages, and client and server stubs behind features of the same names.
//!
//! Contains generated code, its codec, and constants that no message contains. Names, numbers and
//! types of the etcd packages are etcd's contract; see `README.md` for the rules that keep it.
//!
//! The modules allow lints and do not expect them: the code is the generator's, and which of the
//! lints it trips depends on the features, so an expectation would hold in one build and fail in
//! the next.

pub mod codec;
pub mod limits;
pub mod metadata;
#[cfg(feature = "server")]
mod operations;
pub mod peer_metadata;
mod version;

pub use self::version::API_VERSION;

/// Records of the key space (`mvccpb`).
pub mod mvccpb {
    #![allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        unused_qualifications,
        clippy::all,
        clippy::too_many_lines
    )]
    tonic::include_proto!("mvccpb");
}

/// Users and roles (`authpb`).
pub mod authpb {
    #![allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        unused_qualifications,
        clippy::all,
        clippy::too_many_lines
    )]
    tonic::include_proto!("authpb");
}

/// etcd's services (`etcdserverpb`).
pub mod etcdserverpb {
    #![allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        unused_qualifications,
        clippy::all,
        clippy::too_many_lines
    )]
    tonic::include_proto!("etcdserverpb");
}

/// etcd's server-side lock (`v3lockpb`).
pub mod v3lockpb {
    #![allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        unused_qualifications,
        clippy::all,
        clippy::too_many_lines
    )]
    tonic::include_proto!("v3lockpb");
}

/// etcd's server-side election (`v3electionpb`).
pub mod v3electionpb {
    #![allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        unused_qualifications,
        clippy::all,
        clippy::too_many_lines
    )]
    tonic::include_proto!("v3electionpb");
}

/// tenure's own services (`tenure.v1`).
pub mod tenure {
    #[allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        unused_qualifications,
        clippy::all,
        clippy::too_many_lines
    )]
    pub mod v1 {
        tonic::include_proto!("tenure.v1");
    }
}
pub use self::tenure::v1;

/// Node to node (`tenure.peer.v1`); never served on the client port.
pub mod peer {
    #![allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        unused_qualifications,
        clippy::all,
        clippy::too_many_lines
    )]
    tonic::include_proto!("tenure.peer.v1");
}

/// Descriptors of everything served on the client port, for gRPC reflection.
pub const PUBLIC_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/public_descriptor.bin"));

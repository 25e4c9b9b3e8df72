//! Compiles the `.proto` files without a protoc binary and keeps the descriptor set for reflection.

use std::{env, fs, path::PathBuf};

use prost::Message;

/// Every file that is served or spoken; imports follow.
const FILES: [&str; 16] = [
    "etcd/kv.proto",
    "etcd/watch.proto",
    "etcd/lease.proto",
    "etcd/cluster.proto",
    "etcd/maintenance.proto",
    "etcd/auth.proto",
    "etcd/authpb.proto",
    "etcd/lock.proto",
    "etcd/election.proto",
    "tenure/v1/claim.proto",
    "tenure/v1/lock.proto",
    "tenure/v1/election.proto",
    "tenure/v1/session.proto",
    "tenure/v1/registry.proto",
    "tenure/v1/member.proto",
    "tenure/peer/v1/peer.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for dir in ["etcd", "tenure"] {
        println!("cargo:rerun-if-changed={dir}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut public = descriptors.clone();
    public
        .file
        .retain(|file| !file.name().starts_with("tenure/peer/"));
    fs::write(out.join("public_descriptor.bin"), public.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        // Ordered, so that one message has one encoding.
        .btree_map(".tenure.v1")
        .codec_path("crate::codec::BoundedCodec")
        .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}

//! The client of the other cluster.

use std::fs::File;

use anyhow::Context as _;
use tenure::Client;

use crate::{
    args::{DestinationArgs, Global},
    commands,
    failure::Failure,
};

/// Which of the two clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Source,
    Destination,
}

/// Connects to the destination. Time limits are those of the source.
pub(crate) async fn destination(
    global: &Global,
    endpoints: &[String],
    access: &DestinationArgs,
) -> Result<Client, Failure> {
    let files = [
        ("--dest-cacert", &access.dest_cacert),
        ("--dest-cert", &access.dest_cert),
        ("--dest-key", &access.dest_key),
    ];
    for (option, path) in files {
        // Otherwise the error would name the option of the source.
        if let Some(path) = path {
            let opened = File::open(path);
            opened.with_context(|| format!("{option} {} cannot be read", path.display()))?;
        }
    }
    let global = Global {
        endpoints: endpoints.to_vec(),
        cacert: access.dest_cacert.clone(),
        cert: access.dest_cert.clone(),
        key: access.dest_key.clone(),
        insecure_transport: access.dest_insecure_transport,
        user: access.dest_user.clone(),
        password: access.dest_password.clone(),
        auth_jwt_token: None,
        // Of the source, whose certificates may be for the domain.
        discovery_srv: None,
        ..global.clone()
    };
    commands::connect(&global).await
}

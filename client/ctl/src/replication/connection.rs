//! The client of the other cluster.

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
    let files = [&access.dest_cert, &access.dest_key, &access.dest_cacert];
    if !access.dest_insecure_transport || files.iter().any(|file| file.is_some()) {
        return Err(Failure::usage(
            "--dest-cert, --dest-key, --dest-cacert and --dest-insecure-transport=false are not \
             possible: this client speaks plain text only",
        ));
    }
    let global = Global {
        endpoints: endpoints.to_vec(),
        user: access.dest_user.clone(),
        password: access.dest_password.clone(),
        auth_jwt_token: None,
        ..global.clone()
    };
    commands::connect(&global).await
}

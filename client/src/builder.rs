//! Builds a client from its configuration.
//!
//! A module of its own, because connections and calls depend on the configuration.

use crate::{client::Client, config::ClientBuilder, error::Error, session};

impl ClientBuilder {
    /// Builds the client without dialling: connections are opened when they are first used, and
    /// [`Client::ready`] checks that the cluster can be reached.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when there is no endpoint or one of them is
    /// not an address.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future has no effect on the cluster.
    pub async fn connect(self) -> Result<Client, Error> {
        let sequencing = self.config.exactly_once.map(session::automatic);
        let client = Client::new(self.config)?;
        Ok(client.sequenced(sequencing.unwrap_or_default()))
    }
}

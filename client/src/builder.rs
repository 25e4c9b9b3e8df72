//! The last step of a builder: a client from its configuration.
//!
//! Apart from the configuration itself, which connections and calls read.

use crate::{client::Client, config::ClientBuilder, error::Error, session};

impl ClientBuilder {
    /// Builds the client without dialling: connections are opened when they are first used, and
    /// [`Client::ready`] finds out whether there is a cluster.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when there is no endpoint or one of them is
    /// not an address.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn connect(self) -> Result<Client, Error> {
        let sequencing = self.config.exactly_once.map(session::automatic);
        let client = Client::new(self.config)?;
        Ok(client.sequenced(sequencing.unwrap_or_default()))
    }
}

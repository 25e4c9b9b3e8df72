//! `session open|close|inspect`.

use super::Session;
use crate::{
    args::SessionCommand,
    failure::Failure,
    output::{Answer, Reply},
};

pub(super) async fn run(session: &Session, command: SessionCommand) -> Result<(), Failure> {
    let client = &session.client;
    let answer = match command {
        SessionCommand::Open { ttl } => {
            // This program does not renew it: it lasts for its TTL unless `lease keep-alive` renews
            // it.
            let opened = client.sessions().open(ttl).await?;
            Answer::SessionOpened {
                session: opened.lease(),
                ttl: opened.ttl(),
            }
        }
        SessionCommand::Close { id } => {
            client.sessions().close(id).await?;
            Answer::SessionClosed(id)
        }
        SessionCommand::Inspect { id } => {
            let response = client.sessions().inspect(id).await?.into_wire();
            Answer::Session {
                session: id,
                response,
            }
        }
    };
    session.output.print(&Reply::Coordination(answer))
}

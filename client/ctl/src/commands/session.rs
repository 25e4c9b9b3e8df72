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
            // It lasts for its time to live from now on, renewed by whoever takes it over.
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

//! `session open|close|inspect`.

use tenure::wire::v1::{CloseSessionRequest, InspectSessionRequest, session_client::SessionClient};

use super::{Session, direct::Direct};
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
            let opened = client.session(ttl).await?;
            Answer::SessionOpened {
                session: opened.lease(),
                ttl: opened.ttl(),
            }
        }
        SessionCommand::Close { id } => {
            let request = CloseSessionRequest { session: id.get() };
            let direct = Direct::open(session).await?;
            let send = async |channel, request| SessionClient::new(channel).close(request).await;
            direct.send(request, &[], send).await?;
            Answer::SessionClosed(id)
        }
        SessionCommand::Inspect { id } => {
            let request = InspectSessionRequest { session: id.get() };
            let direct = Direct::open(session).await?;
            let send = async |channel, request| SessionClient::new(channel).inspect(request).await;
            Answer::Session {
                session: id,
                response: direct.send(request, &[], send).await?,
            }
        }
    };
    session.output.print(&Reply::Coordination(answer))
}

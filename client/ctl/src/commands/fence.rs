//! `fence check|policy`.

use tenure::{Token, wire::v1::Policy as Rule};

use super::Session;
use crate::{
    args::{Fence, Guarded, Policy},
    failure::Failure,
    output::{Answer, Reply},
};

pub(super) async fn run(session: &Session, command: Fence) -> Result<(), Failure> {
    match command {
        Fence::Check { name, token } => check(session, name, token).await,
        Fence::Policy(command) => policy(session, command).await,
    }
}

async fn check(session: &Session, name: String, token: i64) -> Result<(), Failure> {
    let response = session
        .client
        .locks()
        .check_token(name.as_str(), Token::new(token))
        .await?;
    let valid = response.is_valid();
    let stale = format!("token {token} does not hold {name}");
    let answer = Answer::Token {
        name,
        token,
        response: response.into_wire(),
    };
    session.output.print(&Reply::Coordination(answer))?;
    if valid {
        return Ok(());
    }
    Err(Failure::Command(anyhow::anyhow!(stale)))
}

async fn policy(session: &Session, command: Policy) -> Result<(), Failure> {
    let client = &session.client;
    let answer = match command {
        Policy::Set(Guarded { args, guards }) => {
            let policy = Rule {
                prefix: args.prefix.into(),
                lock: args.lock.into(),
            };
            let client = guards.client(client);
            let set = client
                .fence_policies()
                .set(&policy.prefix, &policy.lock)
                .await;
            set.map_err(|error| guards.explain(error))?;
            Answer::PolicySet(policy)
        }
        Policy::Remove(Guarded { args, guards }) => {
            let client = guards.client(client);
            let removed = client.fence_policies().remove(args.prefix.as_str()).await;
            removed.map_err(|error| guards.explain(error))?;
            Answer::PolicyRemoved(args.prefix)
        }
        Policy::List => Answer::Policies(client.fence_policies().list().await?.into_wire()),
    };
    session.output.print(&Reply::Coordination(answer))
}

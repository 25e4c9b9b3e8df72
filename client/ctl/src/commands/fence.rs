//! `fence check|policy`.

use tenure::wire::v1::{
    ListPoliciesRequest, Policy as Rule, RemovePolicyRequest, SetPolicyRequest,
    fence_client::FenceClient,
};

use super::{Session, direct::Direct};
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
    let response = session.client.check_token(name.as_str(), token).await?;
    let valid = response.valid;
    let stale = format!("token {token} does not hold {name}");
    let answer = Answer::Token {
        name,
        token,
        response,
    };
    session.output.print(&Reply::Coordination(answer))?;
    if valid {
        return Ok(());
    }
    Err(Failure::Command(anyhow::anyhow!(stale)))
}

async fn policy(session: &Session, command: Policy) -> Result<(), Failure> {
    let direct = Direct::open(session).await?;
    let answer = match command {
        Policy::Set(Guarded { args, guards }) => {
            let policy = Rule {
                prefix: args.prefix.into(),
                lock: args.lock.into(),
            };
            let request = SetPolicyRequest {
                policy: Some(policy.clone()),
                options: guards.options(),
            };
            let send = async |channel, request| FenceClient::new(channel).set_policy(request).await;
            direct.send(request, &guards.guards, send).await?;
            Answer::PolicySet(policy)
        }
        Policy::Remove(Guarded { args, guards }) => {
            let request = RemovePolicyRequest {
                prefix: args.prefix.clone().into(),
                options: guards.options(),
            };
            let send =
                async |channel, request| FenceClient::new(channel).remove_policy(request).await;
            direct.send(request, &guards.guards, send).await?;
            Answer::PolicyRemoved(args.prefix)
        }
        Policy::List => {
            let send =
                async |channel, request| FenceClient::new(channel).list_policies(request).await;
            Answer::Policies(direct.send(ListPoliciesRequest {}, &[], send).await?)
        }
    };
    session.output.print(&Reply::Coordination(answer))
}

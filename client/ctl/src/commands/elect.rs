//! `elect`: campaigns and leads, observes an election, or hands it over.

use std::future::IntoFuture;

use tenure::{Leader, LeaseId, Token, wire::v1::Claim};

use super::{
    Session,
    holding::{self, Interrupted},
    print_message,
    signals::Signals,
};
use crate::{
    args::{Elect, ElectArgs},
    failure::Failure,
    output::{Answer, Reply},
};

pub(super) async fn run(session: &Session, args: &ElectArgs) -> Result<(), Failure> {
    match args.mode()? {
        Elect::Campaign { value } => campaign(session, args, value).await,
        Elect::Listen => listen(session, &args.name).await,
        Elect::HandOver { to, epoch } => hand_over(session, args, to, epoch).await,
    }
}

async fn campaign(session: &Session, args: &ElectArgs, value: &str) -> Result<(), Failure> {
    let mut signals = Signals::take()?;
    let election = session.client.elections().named(args.name.as_str());
    // A session of its own, because closing it withdraws the candidate in any state.
    let lifetime = session.client.sessions().open(args.ttl).await?;
    let mut candidacy = election
        .campaign(value)
        .session(&lifetime)
        .principal(args.principal.clone().unwrap_or_default());
    if let Some(wait) = args.wait {
        candidacy = candidacy.wait(wait);
    }
    let leadership = match signals.or_signal(candidacy.into_future()).await {
        Ok(Ok(leadership)) => leadership,
        Ok(Err(error)) => {
            holding::close(lifetime).await;
            return Err(error.into());
        }
        Err(Interrupted) => {
            holding::close(lifetime).await;
            let text = format!("interrupted before {} was won", args.name);
            return Err(Failure::Command(anyhow::anyhow!(text)));
        }
    };
    let claim = holding::claim(
        &args.name,
        value.as_bytes(),
        leadership.lease(),
        leadership.epoch(),
    );
    let outcome = match session
        .output
        .print(&Reply::Coordination(Answer::Taken(claim)))
    {
        Err(failure) => Err(failure),
        Ok(()) => match signals.or_signal(leadership.lost()).await {
            Err(Interrupted) => Ok(()),
            Ok(loss) => {
                let text = format!("{} is lost: {loss}", args.name);
                Err(Failure::Command(anyhow::anyhow!(text)))
            }
        },
    };
    if leadership.is_leader() {
        if let Err(error) = leadership.resign().await {
            print_message(format_args!(
                "{} was not resigned ({error}): it ends by itself",
                args.name
            ));
        }
        holding::close(lifetime).await;
    }
    outcome
}

/// Prints the leader and its changes, until the output is closed.
async fn listen(session: &Session, name: &str) -> Result<(), Failure> {
    let mut observer = session.client.elections().named(name).observe().await?;
    while let Some(leader) = observer.next().await {
        let leader = leader?.map(|leader| claim(name, leader));
        session
            .output
            .print(&Reply::Coordination(Answer::Leader(leader)))?;
    }
    Ok(())
}

async fn hand_over(
    session: &Session,
    args: &ElectArgs,
    to: LeaseId,
    epoch: i64,
) -> Result<(), Failure> {
    let election = args
        .guards
        .client(&session.client)
        .elections()
        .named(args.name.as_str());
    let leader = election.hand_over(to, Token::new(epoch)).await;
    let leader = leader.map_err(|error| args.guards.explain(error))?;
    let answer = Answer::Leader(Some(claim(&args.name, leader)));
    session.output.print(&Reply::Coordination(answer))
}

/// The claim of a leader.
fn claim(name: &str, leader: Leader) -> Claim {
    Claim {
        principal: leader.principal,
        ..holding::claim(name, &leader.value, leader.lease, leader.epoch)
    }
}

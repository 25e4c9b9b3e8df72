//! Waits until a member that was added votes, and prints what it still waits for.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use tenure::{Client, ErrorKind, MemberId, MemberRole};
use tokio::time::sleep;

use crate::{
    commands::{Session, print_message},
    failure::Failure,
};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the member lacks.
#[derive(Debug, PartialEq, Eq)]
enum Lack {
    /// It has never started.
    Start,
    /// It does not answer, for this reason.
    Answer(String),
    /// It has this many entries less than the leader.
    Entries(u64),
    /// It has them all, and the leader gives it its vote when it saw that a few times, and enough
    /// members answer.
    Vote,
    /// The other members do not answer, for this reason.
    Others(String),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("it has not started"),
            Self::Answer(reason) => write!(f, "it does not answer: {reason}"),
            Self::Entries(entries) => write!(f, "it is {entries} entries behind"),
            Self::Vote => f.write_str("it has caught up, and is about to get its vote"),
            Self::Others(reason) => write!(f, "the other members do not answer: {reason}"),
        }
    }
}

/// Waits until the member votes, for `limit` at most.
pub(super) async fn until_it_votes(
    session: &Session,
    id: MemberId,
    limit: Duration,
) -> Result<(), Failure> {
    let begin = Instant::now();
    loop {
        let Some(lack) = look(&session.client, id).await? else {
            print_message(format_args!("member {:x} votes", id.get()));
            return Ok(());
        };
        if begin.elapsed() >= limit {
            let text = anyhow!(
                "member {:x} does not vote after {}: {lack}; it is a member all the same",
                id.get(),
                humantime::format_duration(limit),
            );
            return Err(Failure::Command(text));
        }
        print_message(format_args!("waiting for member {:x}: {lack}", id.get()));
        sleep(LOOK_EVERY).await;
    }
}

/// What the member lacks to vote; `None` when it does.
async fn look(client: &Client, id: MemberId) -> Result<Option<Lack>, Failure> {
    let members = match client.cluster().members().await {
        Ok(members) => members,
        Err(error) if error.kind() == ErrorKind::Unauthenticated => return Err(error.into()),
        Err(error) => return Ok(Some(Lack::Others(error.to_string()))),
    };
    let Some(member) = members.iter().find(|member| member.id() == id) else {
        let text = anyhow!("member {:x} was removed meanwhile", id.get());
        return Err(Failure::Command(text));
    };
    let Some(url) = member.client_urls().first() else {
        return Ok(Some(Lack::Start));
    };
    let own = match client.only(url.clone())?.maintenance().status().await {
        Ok(status) => status,
        Err(error) => return Ok(Some(Lack::Answer(error.to_string()))),
    };
    if own.role() == MemberRole::Voter {
        return Ok(None);
    }
    let lack = match client.maintenance().status().await {
        Ok(other) => match other.raft_index().saturating_sub(own.raft_applied_index()) {
            0 => Lack::Vote,
            entries => Lack::Entries(entries),
        },
        Err(error) => Lack::Others(error.to_string()),
    };
    Ok(Some(lack))
}

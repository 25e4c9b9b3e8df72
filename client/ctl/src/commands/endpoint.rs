//! `endpoint status|health|hashkv`: queries every endpoint separately.

use std::time::Instant;

use futures::future::join_all;
use tenure::{AlarmKind, Client, ErrorKind, HistoryHash, Revision, Status};

use super::{Session, print_message};
use crate::{
    args::{Endpoint, Format},
    failure::Failure,
    output::{Health, Reply, go_duration},
};

pub(super) async fn run(
    session: &Session,
    cluster: bool,
    command: Endpoint,
) -> Result<(), Failure> {
    let endpoints = session.endpoints(cluster).await?;
    match command {
        Endpoint::Health => health(session, &endpoints).await,
        Endpoint::Status => {
            let ask = |client: Client| async move {
                let status = client.maintenance().status().await;
                status.map(Status::into_wire)
            };
            let (answers, failed) = each(session, &endpoints, "status", ask).await;
            finish(session, &Reply::Status(answers), failed)
        }
        Endpoint::Hashkv { rev } => {
            let rev = Revision::new(rev);
            let ask = |client: Client| async move {
                let hash = client.maintenance().hash_kv(rev).await;
                hash.map(HistoryHash::into_wire)
            };
            let (answers, failed) = each(session, &endpoints, "hash", ask).await;
            finish(session, &Reply::HashKv(answers), failed)
        }
    }
}

/// Queries all endpoints concurrently; reports those that failed on standard error. Returns the
/// answers, and whether any failed.
pub(super) async fn each<T, Answer>(
    session: &Session,
    endpoints: &[String],
    subject: &str,
    ask: impl Fn(Client) -> Answer,
) -> (Vec<(String, T)>, bool)
where
    Answer: Future<Output = Result<T, tenure::Error>>,
{
    let asked = endpoints.iter().map(|endpoint| {
        let answer = session.client.only(endpoint).map(&ask);
        async move { answer?.await }
    });
    let mut answers = Vec::new();
    for (endpoint, answer) in endpoints.iter().zip(join_all(asked).await) {
        match answer {
            Ok(answer) => answers.push((endpoint.clone(), answer)),
            Err(error) => {
                print_message(format_args!(
                    "Failed to get the {subject} of endpoint {endpoint} ({error})"
                ));
            }
        }
    }
    let failed = answers.len() < endpoints.len();
    (answers, failed)
}

fn finish(session: &Session, reply: &Reply, failed: bool) -> Result<(), Failure> {
    session.output.print(reply)?;
    if failed {
        Err(Failure::Reported)
    } else {
        Ok(())
    }
}

async fn health(session: &Session, endpoints: &[String]) -> Result<(), Failure> {
    let checks = endpoints.iter().map(|endpoint| check(session, endpoint));
    let list = join_all(checks).await;
    let sick: Vec<_> = list
        .iter()
        .filter(|health| health.error.is_some())
        .cloned()
        .collect();
    session.output.print(&Reply::Health(list))?;
    if session.output.format == Format::Simple {
        for health in &sick {
            let error = health.error.as_deref().unwrap_or_default();
            let endpoint = &health.endpoint;
            print_message(format_args!(
                "{endpoint} is unhealthy: failed to commit proposal: {error}"
            ));
        }
    }
    if sick.is_empty() {
        Ok(())
    } else {
        Err(anyhow::anyhow!("unhealthy cluster").into())
    }
}

/// An endpoint is healthy when it reads through the quorum and no alarm is raised.
async fn check(session: &Session, endpoint: &str) -> Health {
    let started = Instant::now();
    let outcome = match session.client.only(endpoint) {
        Ok(client) => probe(&client).await,
        Err(error) => Err(error.to_string()),
    };
    let took = go_duration(started.elapsed());
    Health {
        endpoint: endpoint.to_owned(),
        took,
        error: outcome.err(),
    }
}

async fn probe(client: &Client) -> Result<(), String> {
    match client.get("health").await {
        Ok(_) => {}
        // A refusal of permission has passed the quorum as well.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        Err(error) => return Err(error.to_string()),
    }
    let alarms = client.maintenance().alarms().await;
    let raised = alarms.map_err(|_| "Unable to fetch the alarm list".to_owned())?;
    if raised.is_empty() {
        return Ok(());
    }
    let mut text = "Active Alarm(s): ".to_owned();
    for alarm in &raised {
        text += match alarm.kind() {
            AlarmKind::NoSpace => "NOSPACE ",
            AlarmKind::Corrupt => "CORRUPT ",
            _ => "UNKNOWN ",
        };
    }
    Err(text)
}

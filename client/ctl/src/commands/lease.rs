//! `lease grant|revoke|timetolive|list|keep-alive`.

use std::time::Duration;

use tenure::{ErrorKind, LeaseId, wire::etcdserverpb::LeaseRevokeResponse};

use super::{Session, conditions::named};
use crate::{
    args::{Format, Guards, Lease},
    failure::Failure,
    output::Reply,
};

pub(super) async fn run(session: &Session, command: Lease) -> Result<(), Failure> {
    let (client, output) = (&session.client, session.output);
    match command {
        Lease::Grant { ttl, conditions } => {
            // Servers raise a TTL below their minimum, so zero is sent for a negative one.
            let ttl = Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
            let grant = conditions.guards.client(client).leases().grant(ttl);
            let granted = named!(grant, conditions).await;
            let response = granted
                .map_err(|error| during("failed to grant lease", &conditions.guards, error))?;
            output.print(&Reply::Grant(response.into_wire()))
        }
        Lease::Revoke { id, conditions } => {
            let revoke = conditions.guards.client(client).leases().revoke(id);
            let revoked = named!(revoke, conditions).await;
            let response = revoked
                .map_err(|error| during("failed to revoke lease", &conditions.guards, error))?;
            let header = Some(response.into_wire());
            output.print(&Reply::Revoke(id, LeaseRevokeResponse { header }))
        }
        Lease::Timetolive { id, keys } => {
            let asked = client.leases().time_to_live(id);
            let response = if keys { asked.keys() } else { asked }.await?;
            output.print(&Reply::TimeToLive(response.into_wire(), keys))
        }
        Lease::List => output.print(&Reply::Leases(client.leases().list().await?.into_wire())),
        Lease::KeepAlive { id, once: true } => {
            let renewal = client.leases().keep_alive_once(id).await?;
            output.print(&Reply::KeepAlive(renewal.into_wire()))
        }
        Lease::KeepAlive { id, once: false } => keep_alive(session, id).await,
    }
}

/// Prefixes the error with the action, as etcdctl does, except for errors that have a hint.
fn during(action: &'static str, guards: &Guards, error: tenure::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::OutOfRange | ErrorKind::FailedPrecondition => {
            Failure::Command(anyhow::anyhow!("{action} ({error})"))
        }
        _ => guards.explain(error),
    }
}

async fn keep_alive(session: &Session, id: LeaseId) -> Result<(), Failure> {
    let output = session.output;
    match session.client.leases().keep_alive(id).await {
        Ok(mut alive) => {
            let mut renewal = alive.last_renewal();
            while let Some(renewed) = renewal {
                output.print(&Reply::KeepAlive(renewed.into_wire()))?;
                renewal = alive.renewed().await;
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    if output.format == Format::Simple {
        output.say(format!("lease {id} expired or revoked.\n").as_bytes())?;
    }
    Ok(())
}

//! `put`, `get`, `del` and `compaction`.

use std::{
    io::{self, IsTerminal, Read},
    time::Duration,
};

use tenure::Revision;

use super::{Session, conditions::named, print_message};
use crate::{
    args::{Conditions, DelArgs, Format, GetArgs, PutArgs},
    failure::Failure,
    output::{Part, Reply},
    quoting::quote,
};

/// Delay before a range is deleted, in which the user can interrupt, as in etcdctl.
const INTERRUPT_DELAY: Duration = Duration::from_secs(2);

pub(super) async fn put(
    session: &Session,
    args: &PutArgs,
    conditions: &Conditions,
) -> Result<(), Failure> {
    let value = match &args.value {
        Some(value) => value.clone().into_bytes(),
        None if args.ignore_value => Vec::new(),
        None => value_from_stdin()?,
    };
    let put = conditions
        .guards
        .client(&session.client)
        .put(&args.key, value);
    let put = named!(args.apply(put)?, conditions);
    let response = put
        .await
        .map_err(|error| conditions.guards.explain(error))?;
    session.output.print(&Reply::Put(response.into_wire()))
}

fn value_from_stdin() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    io::stdin().lock().read_to_end(&mut value)?;
    if value.is_empty() {
        let text = "put command needs 1 argument and input from stdin or 2 arguments";
        return Err(Failure::usage(text));
    }
    Ok(value)
}

pub(super) async fn get(session: &Session, args: &GetArgs) -> Result<(), Failure> {
    if args.print_value_only && session.output.format != Format::Simple {
        return Err(Failure::usage(
            "print-value-only is only for `--write-out=simple`",
        ));
    }
    let get = args.apply(session.client.get(args.range()?))?;
    let response = if args.stream {
        get.stream().await?.collect().await?
    } else {
        get.await?
    };
    let part = match (args.count_only, args.print_value_only) {
        (true, _) => Part::Count,
        (_, true) => Part::Values,
        _ => Part::All,
    };
    let response = response.into_wire();
    session.output.print(&Reply::Get { response, part })
}

pub(super) async fn del(
    session: &Session,
    args: &DelArgs,
    conditions: &Conditions,
) -> Result<(), Failure> {
    let range = args.range()?;
    if let Some(end) = args.range_end.as_deref().filter(|_| !args.range) {
        delay_for_interrupt(&args.key, end).await;
    }
    let delete = conditions.guards.client(&session.client).delete(range);
    let delete = named!(args.apply(delete), conditions);
    let response = delete
        .await
        .map_err(|error| conditions.guards.explain(error))?;
    session.output.print(&Reply::Delete(response.into_wire()))
}

/// Warns and waits, so that a user at a terminal can interrupt; scripts are not delayed.
async fn delay_for_interrupt(key: &str, end: &str) {
    if !io::stderr().is_terminal() {
        return;
    }
    print_message(format_args!(
        "Warning: Keys between {} and {} will be deleted. Please interrupt the command within next \
         2 seconds to cancel. You can provide `--range` flag to avoid the delay.",
        quote(key.as_bytes()),
        quote(end.as_bytes()),
    ));
    tokio::time::sleep(INTERRUPT_DELAY).await;
}

pub(super) async fn compaction(
    session: &Session,
    revision: i64,
    physical: bool,
    conditions: &Conditions,
) -> Result<(), Failure> {
    let compact = conditions
        .guards
        .client(&session.client)
        .maintenance()
        .compact(Revision::new(revision));
    let compact = named!(compact, conditions);
    let compact = if physical {
        compact.physical()
    } else {
        compact
    };
    compact
        .await
        .map_err(|error| conditions.guards.explain(error))?;
    session
        .output
        .say(format!("compacted revision {revision}\n").as_bytes())
}

//! `txn`: reads a transaction from standard input and runs it.

use std::io::{self, BufRead};

use super::{Session, conditions::named};
use crate::{args::Conditions, failure::Failure, output::Reply, transaction::Section};

pub(super) async fn run(
    session: &Session,
    interactive: bool,
    conditions: &Conditions,
) -> Result<(), Failure> {
    let txn = conditions.guards.client(&session.client).txn();
    let mut txn = named!(txn, conditions);
    for section in Section::ALL {
        if interactive {
            session
                .output
                .say(format!("{}\n", section.prompt()).as_bytes())?;
        }
        while let Some(line) = line()? {
            txn = section.add(txn, &line)?;
        }
    }
    let response = txn
        .await
        .map_err(|error| conditions.guards.explain(error))?;
    session.output.print(&Reply::Txn(response.into_wire()))
}

/// The next line of a section; `None` at the blank line that ends it.
fn line() -> Result<Option<String>, Failure> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    // Every section ends with a blank line, so that a truncated transaction is detected.
    if !line.ends_with('\n') {
        let text = "unexpected end of the transaction: each of its three parts ends with an empty \
                    line";
        return Err(Failure::Input(text.to_owned()));
    }
    let line = line.trim();
    Ok((!line.is_empty()).then(|| line.to_owned()))
}

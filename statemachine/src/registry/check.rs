//! Invariants of the registry's rows: each has the timer that will remove it.

use bytes::Bytes;

use super::{
    brake_row::{self, Held, Window},
    drain::Drain,
};
use crate::{
    engine::{Table, View},
    error::Fault,
    keys::{BRAKE_PREFIX, DRAIN_PREFIX, damaged},
    timers,
};

/// Checks the rows of brakes and drains.
///
/// # Errors
/// The first violation, or what could not be read, in words.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    let describe = |fault: Fault| fault.to_string();
    for (row, value) in rows(view, BRAKE_PREFIX).map_err(describe)? {
        let (is_held, service) =
            brake_row::parse_row(&row).ok_or_else(|| format!("odd brake row {row:?}"))?;
        let at = if is_held {
            Held::decode(&value).map_err(describe)?.look
        } else {
            Window::decode(&value).map_err(describe)?.end()
        };
        if !timers::is_set(view, at, &brake_row::timer(service)).map_err(describe)? {
            return Err(format!("the brake row of {service:?} is never looked at"));
        }
    }
    for (row, value) in rows(view, DRAIN_PREFIX).map_err(describe)? {
        let (key, drain) = (row.slice(1..), Drain::decode(&value).map_err(describe)?);
        if !timers::is_set(view, drain.until, &drain.timer(&key)).map_err(describe)? {
            return Err(format!("the drain of {key:?} has no end"));
        }
    }
    Ok(())
}

fn rows(view: &dyn View, prefix: u8) -> Result<Vec<(Bytes, Bytes)>, Fault> {
    let mut found = Vec::new();
    let mut cursor = view.scan(Table::Cluster, &[prefix])?;
    while let Some((row, value)) = cursor.next()? {
        match row.first() {
            Some(first) if *first == prefix => found.push((row, value)),
            Some(_) => break,
            None => return Err(damaged("a row without a first byte")),
        }
    }
    Ok(found)
}

//! Invariants of the registry's rows: each has the timer that will remove it.

use super::{
    brake_row::{self, Held, Window},
    drain::Drain,
};
use crate::{
    engine::View,
    error::Fault,
    rows::{Family, Row},
    timers,
};

/// Checks the rows of brakes and drains.
///
/// # Errors
/// The first violation, or what could not be read, in words.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    let describe = |fault: Fault| fault.to_string();
    for (row, value) in Family::Brake
        .rows(view)
        .map_err(|error| error.to_string())?
    {
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
    for (row, value) in Family::Drain
        .rows(view)
        .map_err(|error| error.to_string())?
    {
        let (key, drain) = (row.slice(1..), Drain::decode(&value).map_err(describe)?);
        if !timers::is_set(view, drain.until, &drain.timer(&key)).map_err(describe)? {
            return Err(format!("the drain of {key:?} has no end"));
        }
    }
    Ok(())
}

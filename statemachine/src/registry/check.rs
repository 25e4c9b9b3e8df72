//! Invariants of the registry's rows: each has the timer that will remove it.

use super::{
    drain::Drain,
    mass_expiry_row::{self, Held, Window},
};
use crate::{
    engine::View,
    error::Fault,
    rows::{Family, Row},
    timers,
};

/// Checks the rows of the mass-expiry guard and of drains.
///
/// # Errors
/// The first violation, or what could not be read, in words.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    let describe = |fault: Fault| fault.to_string();
    for (row, value) in Family::MassExpiry
        .rows(view)
        .map_err(|error| error.to_string())?
    {
        let (is_held, service) = mass_expiry_row::parse_row(&row)
            .ok_or_else(|| format!("odd mass-expiry row {row:?}"))?;
        let at = if is_held {
            Held::decode(&value).map_err(describe)?.look
        } else {
            Window::decode(&value).map_err(describe)?.end()
        };
        if !timers::is_set(view, at, &mass_expiry_row::timer(service)).map_err(describe)? {
            return Err(format!(
                "the mass-expiry row of {service:?} is never looked at"
            ));
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

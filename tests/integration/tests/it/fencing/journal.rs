//! What holders noted, read back.

use std::{fs, path::Path};

/// Something a holder noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It was granted the lock.
    Granted,
    /// Until when it then knew to hold the lock, on the shared clock in microseconds.
    Deadline(u128),
    /// It was told that the lock is lost.
    Lost,
    /// It set out to release the lock, and took itself for the holder.
    Leaving(bool),
    /// The release was acknowledged.
    Released,
    /// A write was acknowledged.
    Wrote,
    /// A write was refused for want of a valid token.
    Refused,
}

/// A line of a journal.
#[derive(Clone, Debug)]
pub(super) struct Note {
    /// When, on the shared clock in microseconds.
    pub(super) at: u128,
    pub(super) token: i64,
    pub(super) what: What,
}

/// The notes of one holder, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    /// The number of the lock that it wants.
    pub(super) lock: usize,
    pub(super) notes: Vec<Note>,
}

/// Reads a journal, without a last line that is still being written.
pub(super) fn read(path: &Path) -> Vec<Note> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter_map(note).collect()
}

fn note(line: &str) -> Option<Note> {
    let mut words = line.split(' ');
    let at = words.next()?.parse().ok()?;
    let word = words.next()?;
    let token = words.next()?.parse().ok()?;
    let what = match word {
        "granted" => What::Granted,
        "deadline" => What::Deadline(words.next()?.parse().ok()?),
        "lost" => What::Lost,
        "leaving" => What::Leaving(words.next()? == "true"),
        "released" => What::Released,
        "wrote" => What::Wrote,
        "refused" => What::Refused,
        _ => return None,
    };
    Some(Note { at, token, what })
}

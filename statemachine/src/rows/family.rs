//! The families of rows in [`Table::Cluster`], by the first byte of their keys.
//!
//! The rows are listed in `rows/keys.rs`. Invariant: a byte is stored and never given to another
//! family.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    engine::{Table, View},
    error::EngineError,
};

/// A family of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Alarm,
    MassExpiry,
    Claim,
    LockDelay,
    /// The one row of the state of authentication.
    Auth,
    FencePolicy,
    Drain,
    /// Users to whom sessions belong.
    SessionOwner,
    RequestKey,
    /// The one row of the secret that signs tokens.
    TokenSecret,
    /// The share of a client of the idempotency keys.
    ClientKeys,
    /// Idempotency keys of users.
    UserRequestKey,
    Member,
    /// The one row that counts idempotency keys.
    RequestKeyCount,
    /// Origins, and their common floor.
    Origin,
    User,
    Role,
    /// Requests of sessions.
    Request,
    Session,
    Timer,
    /// The one row of the total sizes of wills and sessions.
    Totals,
    Will,
}

impl Family {
    /// Every family, by its byte.
    const ALL: [Self; 22] = [
        Self::Alarm,
        Self::MassExpiry,
        Self::Claim,
        Self::LockDelay,
        Self::Auth,
        Self::FencePolicy,
        Self::Drain,
        Self::SessionOwner,
        Self::RequestKey,
        Self::TokenSecret,
        Self::ClientKeys,
        Self::UserRequestKey,
        Self::Member,
        Self::RequestKeyCount,
        Self::Origin,
        Self::User,
        Self::Role,
        Self::Request,
        Self::Session,
        Self::Timer,
        Self::Totals,
        Self::Will,
    ];

    /// Returns the prefix of the family's rows; the whole key if there is only one row.
    pub(crate) const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Alarm => b"A",
            Self::MassExpiry => b"B",
            Self::Claim => b"C",
            Self::LockDelay => b"D",
            Self::Auth => b"E",
            Self::FencePolicy => b"F",
            Self::Drain => b"G",
            Self::SessionOwner => b"H",
            Self::RequestKey => b"I",
            Self::TokenSecret => b"J",
            Self::ClientKeys => b"K",
            Self::UserRequestKey => b"L",
            Self::Member => b"M",
            Self::RequestKeyCount => b"N",
            Self::Origin => b"O",
            Self::User => b"P",
            Self::Role => b"Q",
            Self::Request => b"R",
            Self::Session => b"S",
            Self::Timer => b"T",
            Self::Totals => b"U",
            Self::Will => b"W",
        }
    }

    /// Starts the key of a row, with room for `more` bytes.
    pub(crate) fn row(self, more: usize) -> BytesMut {
        let prefix = self.prefix();
        let mut row = BytesMut::with_capacity(more.saturating_add(prefix.len()));
        row.put_slice(prefix);
        row
    }

    /// Returns every row of the family. For invariants, and for families with few rows.
    pub(crate) fn rows(self, view: &dyn View) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        let mut found = Vec::new();
        let mut cursor = view.scan(Table::Cluster, self.prefix())?;
        while let Some((row, value)) = cursor.next()? {
            if self.rest(&row).is_none() {
                break;
            }
            found.push((row, value));
        }
        Ok(found)
    }

    /// Returns the part of a row's key after the prefix, if the row is of this family.
    pub(crate) fn rest(self, row: &[u8]) -> Option<&[u8]> {
        row.strip_prefix(self.prefix())
    }
}

/// Checks that every row is of a family.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    let unknown = |error: EngineError| error.to_string();
    let mut cursor = view.scan(Table::Cluster, &[]).map_err(unknown)?;
    while let Some(row) = cursor.next_key().map_err(unknown)? {
        if !Family::ALL.iter().any(|family| family.rest(&row).is_some()) {
            return Err(format!("{row:?} is a row of no family"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_apart_by_one_byte_and_stand_in_its_order() {
        let prefixes = Family::ALL.map(Family::prefix);
        assert!(prefixes.is_sorted_by(|a, b| a < b));
        assert!(prefixes.iter().all(|prefix| prefix.len() == 1));
    }
}

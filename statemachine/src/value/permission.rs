//! Permissions: which kind of access to which keys.

use bytes::Bytes;

use crate::{
    encoding,
    value::{KeyRange, RangeEnd},
};

/// The kind of access that a permission gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    #[default]
    Read,
    /// Writing.
    Write,
    /// Both.
    ReadWrite,
}

encoding::choice! {
    Access { 0 = Read, 1 = Write, 2 = ReadWrite } "unknown access"
}

impl Access {
    /// Whether it includes reading.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Whether it includes writing.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// Access to the keys of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The kind of access.
    pub access: Access,
    /// The keys.
    pub range: KeyRange,
}

encoding::record! { Permission { access, range } }

impl Permission {
    /// The order of the permissions of a role, which has at most one for each range.
    pub(crate) fn place(&self) -> (&Bytes, Bytes) {
        place(&self.range)
    }
}

/// Returns the place of the permission for `range` in a role.
pub(crate) fn place(range: &KeyRange) -> (&Bytes, Bytes) {
    (&range.start, range.wire_end())
}

/// Whether a role can have a permission for `range`: it begins with a key, and has room for one.
pub(crate) fn is_grantable(range: &KeyRange) -> bool {
    let has_room = match &range.end {
        RangeEnd::Before(end) => *end > range.start,
        RangeEnd::Single | RangeEnd::Unbounded => true,
    };
    has_room && !range.start.is_empty()
}

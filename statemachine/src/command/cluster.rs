//! Commands on what members must agree on: alarms, and what members say of themselves.

use super::{Command, operation};
use crate::{
    encoding::{self, Decoder, Encoded, Encoder, Malformed, or_none},
    value::{AlarmKind, MemberId},
};

/// In place of a kind of alarm where every kind is meant.
const ANY_KIND: u8 = 0;

/// Raise or clear an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmChange {
    /// Whose alarm. When clearing, zero means every member's.
    pub member: MemberId,
    /// Which kind. When clearing, `None` means every kind; when raising it is always given.
    pub kind: Option<AlarmKind>,
    /// Raise or clear.
    pub active: bool,
}

// Answered with the alarms that were raised or cleared.
operation! {
    AlarmChange: it => Command::Alarm(it);
    Vec<(MemberId, AlarmKind)>: Alarm(alarms) => alarms
}

impl Encoded for AlarmChange {
    fn write(&self, out: &mut Encoder) {
        out.value(&self.member);
        or_none::write(out, ANY_KIND, self.kind.as_ref());
        out.value(&self.active);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            member: input.value()?,
            kind: or_none::read(input, ANY_KIND)?,
            active: input.value()?,
        })
    }
}

/// What a member says of itself once it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberAttributes {
    /// The member.
    pub id: MemberId,
    /// Its human-readable name.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

encoding::record! { MemberAttributes { id, name, client_urls } }

operation! { MemberAttributes: it => Command::MemberPublish(it); (): MemberPublish => () }

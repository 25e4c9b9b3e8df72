//! Commands on facts that all members agree on: alarms, and the attributes of members.

use super::{Command, operation};
use crate::{
    encoding::{self, Decoder, Encoded, Encoder, Malformed, or_none},
    value::{AlarmKind, MemberId},
};

/// The tag for "every kind of alarm".
const ANY_KIND: u8 = 0;

/// Raises or clears an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmChange {
    /// The member with the alarm; zero when the alarm names none. Below
    /// [`FeatureLevel::ALARMED`](crate::FeatureLevel::ALARMED) zero clears every member's.
    pub member: MemberId,
    /// The kind; always set when raising. `None` clears nothing, and below that level every kind.
    pub kind: Option<AlarmKind>,
    /// Whether to raise it; otherwise it is cleared.
    pub active: bool,
}

// The reply holds the alarms that were raised or cleared.
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

/// The attributes that a member publishes once it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberAttributes {
    /// The member.
    pub id: MemberId,
    /// Its human-readable name.
    pub name: String,
    /// The URLs at which clients reach it.
    pub client_urls: Vec<String>,
}

encoding::record! { MemberAttributes { id, name, client_urls } }

operation! { MemberAttributes: it => Command::MemberPublish(it); (): MemberPublish => () }

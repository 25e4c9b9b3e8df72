//! Facts that all members agree on: alarms, and the attributes of members.
//!
//! Invariant: the alarm flags in [`Meta`](crate::Meta) say whether an alarm row of the kind exists.

use bytes::Bytes;

use crate::{
    command::{AlarmChange, MemberAttributes},
    encoding::{Decoder, Encoder, Malformed},
    engine::{Table, View},
    error::{Fault, ReadError},
    feature::FeatureLevel,
    read::Reader,
    rows::{Family, Row, keys},
    transition::Transition,
    value::{AlarmKind, Limit, MemberId},
};

/// First byte of a member's row.
const MEMBER_VERSION: u8 = 1;

impl Row for MemberAttributes {
    const DAMAGED: &'static str = "attributes of a member are of an unknown layout";

    fn write_row(&self, out: &mut Encoder) {
        out.byte(MEMBER_VERSION);
        out.value(self);
    }

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.version(MEMBER_VERSION)?;
        input.value()
    }
}

/// Returns every active alarm, by member and kind.
pub(crate) fn alarms(view: &dyn View) -> Result<Vec<(MemberId, AlarmKind)>, Fault> {
    let rows = Family::Alarm.rows(view)?.into_iter();
    let alarms = rows.map(|(row, _)| keys::read_alarm(&row));
    alarms.filter_map(Result::transpose).collect()
}

/// Returns every member's attributes, by id.
pub(crate) fn members(view: &dyn View) -> Result<Vec<MemberAttributes>, Fault> {
    let rows = Family::Member.rows(view)?.into_iter();
    rows.map(|(_, attributes)| MemberAttributes::decode(&attributes))
        .collect()
}

impl Reader<'_> {
    /// Returns every active alarm, by member.
    ///
    /// # Errors
    /// When the engine cannot read, or a row does not decode.
    pub fn alarms(&self) -> Result<Vec<(MemberId, AlarmKind)>, Fault> {
        alarms(self.view)
    }

    /// Returns the attributes that every member published, by id.
    ///
    /// # Errors
    /// When the engine cannot read, or a row does not decode.
    pub fn members(&self) -> Result<Vec<MemberAttributes>, Fault> {
        members(self.view)
    }
}

impl Transition<'_> {
    /// Raises or clears alarms. Returns those raised or cleared; an alarm that is raised again is
    /// returned again.
    pub(crate) fn change_alarm(
        &mut self,
        change: AlarmChange,
    ) -> Result<Vec<(MemberId, AlarmKind)>, ReadError> {
        let changed = if change.active {
            self.raise_alarm(change)?
        } else {
            self.clear_alarms(change)?
        };
        let left = alarms(self.overlay)?;
        let is_active = |wanted| left.iter().any(|(_, kind)| *kind == wanted);
        self.meta.no_space = is_active(AlarmKind::NoSpace);
        self.meta.corrupt = is_active(AlarmKind::Corrupt);
        Ok(changed)
    }

    fn raise_alarm(
        &mut self,
        change: AlarmChange,
    ) -> Result<Vec<(MemberId, AlarmKind)>, ReadError> {
        let Some(kind) = change.kind else {
            return Ok(Vec::new());
        };
        let row = keys::alarm(change.member, kind);
        // Any member may raise the alarm of any other, as in etcd. Each kind has a separate bound:
        // many alarms of one kind must not keep a member from raising the other.
        let is_bounded = self.meta.level >= FeatureLevel::PRICED;
        if is_bounded && self.overlay.get(Table::Cluster, &row)?.is_none() {
            let active = alarms(self.overlay)?;
            let of_kind = active.iter().filter(|(_, active)| *active == kind).count() as u64;
            Limit::Alarms.check(of_kind.saturating_add(1))?;
        }
        self.overlay.put(Table::Cluster, row, Bytes::new());
        Ok(vec![(change.member, kind)])
    }

    fn clear_alarms(&mut self, change: AlarmChange) -> Result<Vec<(MemberId, AlarmKind)>, Fault> {
        // An alarm may name no member, so below that level it could not be cleared alone.
        let has_wildcards = self.meta.level < FeatureLevel::ALARMED;
        let mut cleared = alarms(self.overlay)?;
        cleared.retain(|(member, kind)| {
            let all_members = has_wildcards && change.member == MemberId::UNNAMED;
            let all_kinds = has_wildcards && change.kind.is_none();
            (all_members || change.member == *member) && (all_kinds || change.kind == Some(*kind))
        });
        for (member, kind) in &cleared {
            self.overlay
                .delete(Table::Cluster, keys::alarm(*member, *kind));
        }
        Ok(cleared)
    }

    /// Whether every `Corrupt` alarm names a member, so that the states of the others are sound.
    pub(crate) fn names_corrupt_members(&self) -> Result<bool, Fault> {
        let unnamed = (MemberId::UNNAMED, AlarmKind::Corrupt);
        Ok(!alarms(self.overlay)?.contains(&unnamed))
    }

    /// Stores the attributes that a member publishes.
    pub(crate) fn publish_member(&mut self, attributes: &MemberAttributes) {
        self.overlay.put(
            Table::Cluster,
            keys::member(attributes.id),
            attributes.encode(),
        );
    }
}

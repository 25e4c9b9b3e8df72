//! The queue summary of a name: what promotion needs to know of all claims on it, in one row.
//!
//! The row's key is the common prefix of all claims on the name, so it sorts before them. Its value
//! is, big-endian: layout (1), claims, holding claims, claims for permits, limit of permits (4
//! each), how it is held (1: 0 not, 1 exclusively, 2 shared, 3 by permits), permits in use (8),
//! head and front (8 each).
//!
//! Invariant: a summary exists exactly while there are claims, and counts them; no token is below
//! `head`, and no claim below `front` waits. Head and front avoid a scan over the deleted rows of
//! past claims, of which a busy lock leaves many until the engine has cleared them.

use super::row::{self, Claim, Claims};
use crate::{
    encoding::{Decoder, Encoder, Malformed},
    engine::{Table, View},
    error::{Fault, damaged},
    rows::{Overlay, Row},
    value::{Mode, Revision},
};

/// Layout version, the first byte of the row.
const LAYOUT: u8 = 1;

/// How a name is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Holding {
    #[default]
    Free,
    Alone,
    Shared,
    /// By permits, with the number in use.
    Permits(u64),
}

/// Counters over the claims on one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueSummary {
    pub(crate) claims: u32,
    pub(crate) held: u32,
    pub(crate) holding: Holding,
    /// Claims for permits, and the total number of permits that all of them name.
    pub(crate) permits: u32,
    pub(crate) limit: u32,
    /// No claim has a lower token.
    pub(crate) head: Revision,
    /// No claim that waits has a lower token.
    pub(crate) front: Revision,
}

impl QueueSummary {
    /// Returns the summary of a name; an empty one when there are no claims.
    pub(crate) fn of(view: &dyn View, name: &[u8]) -> Result<Self, Fault> {
        let summary = Self::find(view, Table::Cluster, &row::prefix(name))?;
        Ok(summary.unwrap_or_default())
    }

    /// Stores the summary, or removes it with the last claim.
    pub(crate) fn store(&self, overlay: &mut Overlay, name: &[u8]) {
        debug_assert!(self.is_consistent(), "{self:?}");
        let key = row::prefix(name);
        if self.claims == 0 {
            overlay.delete(Table::Cluster, key);
        } else {
            overlay.put(Table::Cluster, key, self.encode());
        }
    }

    /// Whether its counters are consistent.
    fn is_consistent(&self) -> bool {
        let holding = match self.holding {
            Holding::Free => self.held == 0,
            Holding::Alone => self.held == 1,
            Holding::Shared => self.held > 0,
            Holding::Permits(used) => self.held > 0 && used <= self.limit.into(),
        };
        holding
            && self.held <= self.claims
            && self.permits <= self.claims
            && (self.permits > 0 || self.limit == 0)
    }

    pub(crate) const fn waiting(&self) -> u32 {
        self.claims.saturating_sub(self.held)
    }

    /// Whether a claim could hold together with the holders.
    pub(crate) fn admits(&self, mode: Mode) -> bool {
        match (self.holding, mode) {
            (Holding::Free, _) | (Holding::Shared, Mode::Shared) => true,
            (Holding::Permits(used), Mode::Permits { count, limit }) => {
                limit == self.limit && used.saturating_add(count.into()) <= limit.into()
            }
            (Holding::Alone | Holding::Shared | Holding::Permits(_), _) => false,
        }
    }

    /// Counts a claim that is appended to the queue.
    pub(crate) fn join(&mut self, claim: &Claim) {
        debug_assert!(
            self.claims == 0 || self.head <= claim.token,
            "a claim joins at the end"
        );
        if self.claims == 0 {
            self.head = claim.token;
        }
        if self.waiting() == 0 {
            self.front = claim.token;
        }
        self.claims = self.claims.saturating_add(1);
        if let Mode::Permits { limit, .. } = claim.mode {
            self.permits = self.permits.saturating_add(1);
            self.limit = limit;
        }
        if claim.held {
            self.hold(claim.mode);
        }
    }

    /// Counts a claim of the queue as a holder.
    pub(crate) fn hold(&mut self, mode: Mode) {
        self.held = self.held.saturating_add(1);
        self.holding = match (mode, self.holding) {
            (Mode::Exclusive, _) => Holding::Alone,
            (Mode::Shared, _) => Holding::Shared,
            (Mode::Permits { count, .. }, Holding::Permits(used)) => {
                Holding::Permits(used.saturating_add(count.into()))
            }
            (Mode::Permits { count, .. }, _) => Holding::Permits(count.into()),
        };
    }

    /// Removes a claim from the counts.
    pub(crate) fn leave(&mut self, claim: &Claim) {
        debug_assert!(self.claims > 0, "a claim that leaves is counted");
        debug_assert!(
            !claim.held || self.held > 0,
            "and as one that holds, if it does"
        );
        self.claims = self.claims.saturating_sub(1);
        if let Mode::Permits { count, .. } = claim.mode {
            self.permits = self.permits.saturating_sub(1);
            if let (true, Holding::Permits(used)) = (claim.held, self.holding) {
                self.holding = Holding::Permits(used.saturating_sub(count.into()));
            }
        }
        if self.permits == 0 {
            self.limit = 0;
        }
        if claim.held {
            self.held = self.held.saturating_sub(1);
        }
        if self.held == 0 {
            self.holding = Holding::Free;
            self.head = self.head.max(self.front);
        }
    }

    /// Advances `head` after the claim at it has gone while others hold.
    pub(crate) fn find_head(&mut self, view: &dyn View, gone: &Claim) -> Result<(), Fault> {
        if gone.token == self.head && self.held > 0 {
            let first = Claims::from(view, &gone.name, self.head)?.next()?;
            self.head = first.map_or(self.head, |first| first.token);
        }
        Ok(())
    }

    /// Returns the first claim on the name.
    pub(crate) fn first(&self, view: &dyn View, name: &[u8]) -> Result<Option<Claim>, Fault> {
        if self.claims == 0 {
            return Ok(None);
        }
        Claims::from(view, name, self.head)?.next()
    }

    /// Returns the first claim that waits.
    pub(crate) fn first_waiting(
        &self,
        view: &dyn View,
        name: &[u8],
    ) -> Result<Option<Claim>, Fault> {
        if self.waiting() == 0 {
            return Ok(None);
        }
        let mut claims = Claims::from(view, name, self.front)?;
        while let Some(claim) = claims.next()? {
            if !claim.held {
                return Ok(Some(claim));
            }
        }
        Err(damaged("a summary counts claims that are not there"))
    }

    /// Stores where the first claim that waits was found. Returns whether the summary changed.
    pub(crate) fn advance(&mut self, front: Revision) -> bool {
        let before = (self.head, self.front);
        self.front = front;
        if self.held == 0 {
            self.head = front;
        }
        before != (self.head, self.front)
    }
}

impl Row for QueueSummary {
    const DAMAGED: &'static str = "summary is of an unknown layout";

    fn room(&self) -> usize {
        42
    }

    fn write_row(&self, out: &mut Encoder) {
        let (kind, used) = match self.holding {
            Holding::Free => (0, 0),
            Holding::Alone => (1, 0),
            Holding::Shared => (2, 0),
            Holding::Permits(used) => (3, used),
        };
        out.byte(LAYOUT);
        out.fixed(self.claims);
        out.fixed(self.held);
        out.fixed(self.permits);
        out.fixed(self.limit);
        out.byte(kind);
        out.fixed(used);
        out.fixed(self.head);
        out.fixed(self.front);
    }

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.version(LAYOUT)?;
        Ok(Self {
            claims: input.fixed()?,
            held: input.fixed()?,
            permits: input.fixed()?,
            limit: input.fixed()?,
            holding: match (input.byte()?, input.fixed()?) {
                (0, 0) => Holding::Free,
                (1, 0) => Holding::Alone,
                (2, 0) => Holding::Shared,
                (3, used) => Holding::Permits(used),
                _ => return Err(Malformed::Form("unknown holding")),
            },
            head: input.fixed()?,
            front: input.fixed()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::assert_exact;

    #[test]
    fn summaries_are_read_as_they_were_written() {
        let holding = prop_oneof![
            Just(Holding::Free),
            Just(Holding::Alone),
            Just(Holding::Shared),
            any::<u64>().prop_map(Holding::Permits),
        ];
        let numbers = any::<([u32; 4], [i64; 2])>();
        let summaries = (numbers, holding).prop_map(|((counts, revisions), holding)| {
            let [claims, held, permits, limit] = counts;
            QueueSummary {
                claims,
                held,
                holding,
                permits,
                limit,
                head: Revision(revisions[0]),
                front: Revision(revisions[1]),
            }
        });
        assert_exact(summaries);
    }
}

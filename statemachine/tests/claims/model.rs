//! Queues as plain lists: what claims should come to, by the shortest way there.
//!
//! Knows leases and names, not tokens, rows or timers. What has waited too long goes at once, and
//! then everybody is granted who can be, until nobody can.

use std::collections::{BTreeMap, BTreeSet};

use tenure_statemachine::Mode;

/// Why an operation changes nothing.
pub(crate) type Denied = &'static str;

/// A place in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) lease: i64,
    pub(crate) mode: Mode,
    pub(crate) held: bool,
    pub(crate) foreign: bool,
    pub(crate) until: Option<u64>,
    pub(crate) delay: u64,
    pub(crate) bundle: Vec<u8>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) names: Vec<u8>,
    pub(crate) lease: i64,
    pub(crate) grant: bool,
    pub(crate) mode: Mode,
    /// `None`: not at all; zero: for ever.
    pub(crate) wait: Option<u64>,
    pub(crate) delay: u64,
    pub(crate) rejoin: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    pub(crate) leases: BTreeSet<i64>,
    pub(crate) queues: BTreeMap<u8, Vec<Place>>,
    pub(crate) delays: BTreeMap<u8, u64>,
    /// Keys that have the form of a claim's and are none, and the leases they are attached to.
    pub(crate) plain: BTreeMap<(u8, i64), i64>,
}

fn excludes(held: &[&Place], mode: Mode) -> bool {
    match mode {
        Mode::Exclusive => !held.is_empty(),
        Mode::Shared => held.iter().any(|place| place.mode != Mode::Shared),
        Mode::Permits { count, limit } => {
            let mut left = i64::from(limit) - i64::from(count);
            for place in held {
                match place.mode {
                    Mode::Permits { count, limit: same } if same == limit => {
                        left -= i64::from(count);
                    }
                    _ => return true,
                }
            }
            left < 0
        }
    }
}

impl Model {
    fn place(&self, name: u8, lease: i64) -> Option<&Place> {
        let queue = self.queues.get(&name)?;
        queue.iter().find(|place| place.lease == lease)
    }

    fn queue(&mut self, name: u8) -> &mut Vec<Place> {
        self.queues.entry(name).or_default()
    }

    /// Whether the claim of `lease`, which waits, could hold this name.
    fn is_next(&self, name: u8, lease: i64) -> bool {
        let queue = &self.queues[&name];
        let held: Vec<&Place> = queue.iter().filter(|place| place.held).collect();
        let first = queue.iter().find(|place| !place.held);
        let Some(first) = first.filter(|first| first.lease == lease) else {
            return false;
        };
        if first.foreign && held.is_empty() {
            return true;
        }
        !self.delays.contains_key(&name) && !excludes(&held, first.mode)
    }

    /// Grants until nobody can be granted.
    fn settle(&mut self) {
        while let Some((name, lease)) = self.grantable() {
            let bundle = self.place(name, lease).unwrap().bundle.clone();
            for name in if bundle.is_empty() {
                vec![name]
            } else {
                bundle.clone()
            } {
                for place in self.queue(name) {
                    if place.lease == lease && place.bundle == bundle {
                        place.held = true;
                        place.until = None;
                        place.bundle.clear();
                    }
                }
            }
        }
        self.queues.retain(|_, queue| !queue.is_empty());
    }

    fn grantable(&self) -> Option<(u8, i64)> {
        for (name, queue) in &self.queues {
            for place in queue.iter().filter(|place| !place.held) {
                let mut names = place.bundle.clone();
                names.retain(|name| {
                    let member = self.place(*name, place.lease);
                    member.is_some_and(|member| member.bundle == place.bundle)
                });
                names.push(*name);
                if names.iter().all(|name| self.is_next(*name, place.lease)) {
                    return Some((*name, place.lease));
                }
            }
        }
        None
    }

    /// Whether `lease`, by its places in the queues of `names`, waits for one of `goals`, or for
    /// somebody who does.
    fn waits_for(&self, lease: i64, names: &[u8], goals: &[i64]) -> bool {
        let (mut known, mut open) = (BTreeSet::new(), self.before(lease, names));
        while let Some(waits) = open.pop() {
            if goals.contains(&waits) {
                return true;
            }
            if known.insert(waits) {
                open.extend(self.before(waits, b"abc"));
            }
        }
        false
    }

    /// Who stands before the places in which `lease` waits.
    fn before(&self, lease: i64, names: &[u8]) -> Vec<i64> {
        let mut found = Vec::new();
        for queue in names.iter().filter_map(|name| self.queues.get(name)) {
            let is_own = |place: &Place| place.lease == lease && !place.held;
            let at = queue.iter().position(is_own).unwrap_or(0);
            found.extend(queue[..at].iter().map(|place| place.lease));
        }
        found
    }

    pub(crate) fn grant(&mut self, lease: i64) -> Result<(), Denied> {
        if self.leases.insert(lease) {
            Ok(())
        } else {
            Err("LeaseExists")
        }
    }

    /// Whether it holds; `None` when it was not to wait.
    pub(crate) fn acquire(&mut self, ask: &Ask) -> Result<Option<bool>, Denied> {
        match (ask.grant, self.leases.contains(&ask.lease)) {
            (true, true) => return Err("LeaseExists"),
            (false, false) => return Err("LeaseNotFound"),
            (true, false) | (false, true) => {}
        }
        let present: Vec<_> = ask
            .names
            .iter()
            .filter_map(|name| self.place(*name, ask.lease))
            .collect();
        if !present.is_empty() {
            let is_answer = ask.rejoin && present.len() == ask.names.len();
            let held = present.iter().all(|place| place.held);
            return if is_answer {
                Ok(Some(held))
            } else {
                Err("AlreadyClaimed")
            };
        }
        if let Mode::Permits { limit, .. } = ask.mode {
            let mut places = ask
                .names
                .iter()
                .filter_map(|name| self.queues.get(name))
                .flatten();
            if places.any(|place| counts_otherwise(place.mode, limit)) {
                return Err("PermitsDiffer");
            }
        }
        let mut then = self.clone();
        then.leases.insert(ask.lease);
        for name in &ask.names {
            then.plain.remove(&(*name, ask.lease));
            then.queue(*name).push(Place {
                lease: ask.lease,
                mode: ask.mode,
                held: false,
                foreign: false,
                until: ask
                    .wait
                    .filter(|wait| *wait > 0)
                    .map(|wait| self.now + wait),
                delay: ask.delay,
                bundle: if ask.names.len() > 1 {
                    ask.names.clone()
                } else {
                    Vec::new()
                },
            });
        }
        let closes = then.waits_for(ask.lease, &ask.names, &[ask.lease]);
        then.settle();
        let held = then.place(ask.names[0], ask.lease).unwrap().held;
        if !held && ask.wait.is_none() {
            return Ok(None);
        }
        if !held && closes {
            return Err("Deadlock");
        }
        *self = then;
        Ok(Some(held))
    }

    /// Takes a place out of its queue.
    fn leave(&mut self, name: u8, lease: i64, is_lost: bool) {
        let now = self.now;
        let queue = self.queue(name);
        let Some(at) = queue.iter().position(|place| place.lease == lease) else {
            return;
        };
        let gone = queue.remove(at);
        if is_lost && gone.held && gone.delay > 0 {
            let until = self.delays.entry(name).or_default();
            *until = (*until).max(now + gone.delay);
        }
    }

    fn check_held(&self, name: u8, lease: i64) -> Result<Place, Denied> {
        let place = self.place(name, lease).filter(|place| place.held);
        place.cloned().ok_or("NotHolder")
    }

    pub(crate) fn release(&mut self, name: u8, lease: i64) -> Result<(), Denied> {
        self.check_held(name, lease)?;
        self.leave(name, lease, false);
        self.settle();
        Ok(())
    }

    pub(crate) fn withdraw(&mut self, name: u8, lease: i64) -> bool {
        let found = self.place(name, lease).is_some();
        self.leave(name, lease, false);
        self.settle();
        found
    }

    /// Ends one claim, or all that hold.
    pub(crate) fn force(&mut self, name: u8, lease: Option<i64>) -> Result<(), Denied> {
        let queue = self.queues.get(&name).cloned().unwrap_or_default();
        let ended: Vec<i64> = queue
            .iter()
            .filter(|place| lease.map_or(place.held, |lease| place.lease == lease))
            .map(|place| place.lease)
            .collect();
        if ended.is_empty() {
            return Err("NotHolder");
        }
        for lease in ended {
            self.leave(name, lease, true);
        }
        self.settle();
        Ok(())
    }

    pub(crate) fn transfer(&mut self, name: u8, from: i64, to: i64) -> Result<(), Denied> {
        let old = self.check_held(name, from)?;
        if !self.leases.contains(&to) {
            return Err("LeaseNotFound");
        }
        if self.place(name, to).is_some() {
            return Err("AlreadyClaimed");
        }
        let mut then = self.clone();
        let queue = then.queue(name);
        let waiting: Vec<Place> = queue.iter().filter(|place| !place.held).cloned().collect();
        if waiting.iter().any(|place| place.foreign) {
            return Err("QueueFixed");
        }
        queue.retain(|place| place.lease != from);
        let held = queue.iter().filter(|place| place.held).count();
        queue.insert(
            held,
            Place {
                lease: to,
                foreign: false,
                ..old
            },
        );
        let behind: Vec<i64> = waiting.iter().map(|place| place.lease).collect();
        if then.waits_for(to, b"abc", &behind) {
            return Err("Deadlock");
        }
        then.plain.remove(&(name, to));
        then.settle();
        *self = then;
        Ok(())
    }

    pub(crate) fn hand_over(&mut self, name: u8, from: i64, to: i64) -> Result<(), Denied> {
        self.check_held(name, from)?;
        let Some(next) = self.place(name, to).filter(|next| !next.held).cloned() else {
            return Err("CandidateUnknown");
        };
        let mut then = self.clone();
        let queue = then.queue(name);
        queue.retain(|place| place.lease != from);
        let held: Vec<&Place> = queue.iter().filter(|place| place.held).collect();
        let is_delayed = self.delays.contains_key(&name) && !next.foreign;
        if !next.bundle.is_empty() || is_delayed || excludes(&held, next.mode) {
            return Err("CandidateUnknown");
        }
        let held = held.len();
        if queue[held].lease != to {
            let at = queue.iter().position(|place| place.lease == to).unwrap();
            let ahead: Vec<i64> = queue[held..at].iter().map(|place| place.lease).collect();
            queue.retain(|place| place.lease != to);
            if queue[held..].iter().any(|place| place.foreign) {
                return Err("QueueFixed");
            }
            queue.insert(held, next);
            // Those who were ahead wait for it from then on.
            let others: Vec<u8> = b"abc"
                .iter()
                .copied()
                .filter(|other| *other != name)
                .collect();
            if then.waits_for(to, &others, &ahead) {
                return Err("Deadlock");
            }
        }
        then.settle();
        *self = then;
        Ok(())
    }

    /// Any program puts the key of `name` and `lease`, attached to `attached` (0: to none).
    pub(crate) fn put(&mut self, name: u8, lease: i64, attached: i64) -> Result<(), Denied> {
        if attached != 0 && !self.leases.contains(&attached) {
            return Err("LeaseNotFound");
        }
        if self.place(name, lease).is_some() {
            if attached != lease {
                self.leave(name, lease, false);
                self.plain.insert((name, lease), attached);
            }
        } else if attached != lease || self.plain.contains_key(&(name, lease)) {
            self.plain.insert((name, lease), attached);
        } else {
            self.queue(name).push(Place {
                lease,
                mode: Mode::Exclusive,
                held: false,
                foreign: true,
                until: None,
                delay: 0,
                bundle: Vec::new(),
            });
        }
        self.settle();
        Ok(())
    }

    /// Any program deletes the keys of these leases on `name`.
    pub(crate) fn delete(&mut self, name: u8, leases: &[i64]) {
        for lease in leases {
            self.plain.remove(&(name, *lease));
            self.leave(name, *lease, false);
        }
        self.settle();
    }

    /// The lease ends; `is_lost` when nobody meant it to.
    pub(crate) fn end(&mut self, lease: i64, is_lost: bool) -> bool {
        if !self.leases.remove(&lease) {
            return false;
        }
        let names: Vec<u8> = self.queues.keys().copied().collect();
        for name in names {
            self.leave(name, lease, is_lost);
        }
        self.plain.retain(|_, attached| *attached != lease);
        self.settle();
        true
    }

    /// Time passes, and what has fallen due is done.
    pub(crate) fn wake(&mut self, now: u64) {
        self.now = now;
        for queue in self.queues.values_mut() {
            queue.retain(|place| place.held || place.until.is_none_or(|until| until > now));
        }
        self.delays.retain(|_, until| *until > now);
        self.settle();
    }
}

fn counts_otherwise(mode: Mode, limit: u32) -> bool {
    matches!(mode, Mode::Permits { limit: other, .. } if other != limit)
}

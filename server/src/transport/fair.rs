//! The order in which connections that wait for something get it.
//!
//! There are two lanes, of those that are known to take long, and of the others; while something
//! waits in both, they are served alternately. Within a lane addresses take turns, and so do the
//! connections of each. So a connection waits for one turn of each other of its address and lane
//! and as many in the other lane, and for two of each address, however much they want.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    task::Waker,
};

/// What is counted as one address. A transport may have none.
pub(super) type Of = Option<IpAddr>;

/// Which of the two lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lane {
    #[default]
    Quick,
    Long,
}

/// The place of one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    of: Of,
    lane: Lane,
    number: u64,
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Fair {
    quick: Waiting,
    long: Waiting,
    /// What is served next, if both wait.
    next: Lane,
    tickets: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Each address that is in `connections`, once.
    addresses: VecDeque<Of>,
    /// In the order of tickets. An address whose connections have left stays until its turn.
    connections: HashMap<Of, BTreeMap<u64, Waker>>,
}

impl Waiting {
    fn serve(&mut self) -> Option<(Of, u64, Waker)> {
        loop {
            let of = self.addresses.pop_front()?;
            let waiting = self.connections.get_mut(&of)?;
            let first = waiting.pop_first();
            if waiting.is_empty() {
                self.connections.remove(&of);
            } else {
                self.addresses.push_back(of);
            }
            if let Some((number, waker)) = first {
                return Some((of, number, waker));
            }
        }
    }
}

impl Fair {
    const fn lane(&mut self, lane: Lane) -> &mut Waiting {
        match lane {
            Lane::Quick => &mut self.quick,
            Lane::Long => &mut self.long,
        }
    }

    /// Begins to wait.
    pub(super) fn wait(&mut self, of: Of, lane: Lane, waker: &Waker) -> Ticket {
        self.tickets += 1;
        let number = self.tickets;
        let Waiting {
            addresses,
            connections,
        } = self.lane(lane);
        let waiting = connections.entry(of).or_insert_with(|| {
            addresses.push_back(of);
            BTreeMap::new()
        });
        waiting.insert(number, waker.clone());
        Ticket { of, lane, number }
    }

    /// Has `waker` woken from now on. Returns whether the ticket still waits.
    pub(super) fn wake_with(&mut self, ticket: Ticket, waker: &Waker) -> bool {
        let address = self.lane(ticket.lane).connections.get_mut(&ticket.of);
        let known = address.and_then(|waiting| waiting.get_mut(&ticket.number));
        let waits = known.is_some();
        if let Some(known) = known {
            known.clone_from(waker);
        }
        waits
    }

    /// Ceases to wait.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        if let Some(waiting) = self.lane(ticket.lane).connections.get_mut(&ticket.of) {
            waiting.remove(&ticket.number);
        }
    }

    /// The next one, which waits no more.
    pub(super) fn serve(&mut self) -> Option<(Ticket, Waker)> {
        let other = match self.next {
            Lane::Quick => Lane::Long,
            Lane::Long => Lane::Quick,
        };
        [self.next, other].into_iter().find_map(|lane| {
            let (of, number, waker) = self.lane(lane).serve()?;
            self.next = if lane == self.next { other } else { self.next };
            Some((Ticket { of, lane, number }, waker))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> Of {
        Some(IpAddr::from([10, 0, 0, number]))
    }

    /// Serves `turns`, and has what was served wait again. Returns the tickets in their order.
    fn serve(fair: &mut Fair, turns: usize) -> Vec<Ticket> {
        let serve = |_| {
            let (ticket, waker) = fair.serve().expect("some wait");
            fair.wait(ticket.of, ticket.lane, &waker);
            ticket
        };
        (0..turns).map(serve).collect()
    }

    #[test]
    fn addresses_get_the_same_number_of_turns_and_so_do_the_connections_of_each() {
        let mut fair = Fair::default();
        for _ in 0..64 {
            fair.wait(address(1), Lane::Quick, Waker::noop());
        }
        fair.wait(address(2), Lane::Quick, Waker::noop());
        let served = serve(&mut fair, 256);
        let others = served.iter().filter(|ticket| ticket.of == address(2));
        assert_eq!(others.count(), 128);
        // Each of those at the crowded address had its first turn before any had its second.
        let numbers = served.iter().filter(|ticket| ticket.of == address(1));
        assert!(numbers.is_sorted_by_key(|ticket| ticket.number));
    }

    #[test]
    fn those_that_take_long_have_every_other_turn_while_others_wait() {
        let mut fair = Fair::default();
        for lane in [Lane::Long, Lane::Long, Lane::Long, Lane::Quick] {
            fair.wait(address(1), lane, Waker::noop());
        }
        let quick = fair.serve().expect("it waits").0;
        assert_eq!(quick.lane, Lane::Quick);
        fair.wait(quick.of, quick.lane, Waker::noop());
        let lanes: Vec<_> = serve(&mut fair, 4).iter().map(|it| it.lane).collect();
        let [quick, long] = [Lane::Quick, Lane::Long];
        assert_eq!(lanes, [long, quick, long, quick]);
        // Nothing waits for a lane that is empty.
        let mut fair = Fair::default();
        fair.wait(address(1), long, Waker::noop());
        assert_eq!(serve(&mut fair, 3).len(), 3);
    }

    #[test]
    fn what_leaves_is_passed_over_and_leaves_nothing_behind() {
        let mut fair = Fair::default();
        let [one, two] = [1, 2].map(|it| fair.wait(address(it), Lane::Quick, Waker::noop()));
        assert!(fair.wake_with(one, Waker::noop()));
        fair.leave(one);
        assert!(!fair.wake_with(one, Waker::noop()));
        assert_eq!(fair.serve().expect("it waits").0, two);
        assert!(fair.serve().is_none());
        assert!(fair.quick.connections.is_empty() && fair.quick.addresses.is_empty());
    }
}

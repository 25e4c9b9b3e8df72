//! The queue of passwords that wait to be hashed, shared fairly.
//!
//! Invariant: the queue is bounded. When it is full, or a peer's part of it is, one that asks for
//! less takes the place of the last of those that ask for most: of the peer with most jobs, and
//! there of the user with most. So a storm of log-ins pushes out itself, and not the log-in of
//! another peer, or of another user at the same one.

use std::{collections::VecDeque, net::IpAddr};

/// The part of the queue that one peer may fill.
pub(super) const PARTS_PER_PEER: usize = 4;

/// Whose job it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claimant {
    pub(super) peer: Option<IpAddr>,
    /// A hash of the name that the client sent.
    pub(super) user: [u8; 16],
    /// Whether the user has logged in from there before. Of names that anybody makes up there are
    /// as many as a client likes, so those make way for known users.
    pub(super) is_known: bool,
}

impl Claimant {
    fn is_same(&self, other: &Self) -> bool {
        self.peer == other.peer && self.user == other.user
    }
}

/// Jobs that wait, in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue<J> {
    jobs: VecDeque<(Claimant, J)>,
    len_max: usize,
}

/// What became of a job that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offered<J> {
    /// It waits.
    Waits,
    /// It waits instead of this one.
    Instead(J),
    /// There is no room.
    Refused,
}

impl<J> Queue<J> {
    pub(super) const fn new(len_max: usize) -> Self {
        Self {
            jobs: VecDeque::new(),
            len_max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// The next job.
    pub(super) fn next(&mut self) -> Option<J> {
        self.jobs.pop_front().map(|(_, job)| job)
    }

    pub(super) fn offer(&mut self, claimant: Claimant, job: J) -> Offered<J> {
        let of_peer = self.count(|other| other.peer == claimant.peer);
        let place = if of_peer >= self.len_max / PARTS_PER_PEER {
            let Some(place) = self.least_needed(&claimant) else {
                return Offered::Refused;
            };
            Some(place)
        } else if self.jobs.len() >= self.len_max {
            let Some(place) = self.of_the_greediest_peer(of_peer) else {
                return Offered::Refused;
            };
            Some(place)
        } else {
            None
        };
        let before = place.and_then(|place| self.jobs.remove(place));
        self.jobs.push_back((claimant, job));
        match before {
            Some((_, before)) => Offered::Instead(before),
            None => Offered::Waits,
        }
    }

    fn count(&self, counts: impl Fn(&Claimant) -> bool) -> usize {
        self.jobs.iter().filter(|(other, _)| counts(other)).count()
    }

    /// The job of a peer that makes way for another claimant there.
    fn least_needed(&self, claimant: &Claimant) -> Option<usize> {
        let own = self.count(|other| other.is_same(claimant));
        let of_peer = |other: &Claimant| other.peer == claimant.peer;
        if claimant.is_known && own == 0 {
            let unknown = |other: &Claimant| of_peer(other) && !other.is_known;
            let last = self.jobs.iter().rposition(|(other, _)| unknown(other));
            if last.is_some() {
                return last;
            }
        }
        self.of_the_greediest(|other| of_peer(other), own)
    }

    /// The last job of the user with most jobs among these, if they stay more than `own` and the
    /// one that would be added.
    fn of_the_greediest(&self, among: impl Fn(&Claimant) -> bool, own: usize) -> Option<usize> {
        let claimants = self.jobs.iter().map(|(claimant, _)| claimant);
        let counted = claimants.filter(|other| among(other)).map(|other| {
            let count = self.count(|one| one.is_same(other));
            (count, other)
        });
        let (count, greediest) = counted.max_by_key(|(count, _)| *count)?;
        if count <= own + 1 {
            return None;
        }
        self.jobs
            .iter()
            .rposition(|(other, _)| other.is_same(greediest))
    }

    /// The job that makes way for one of a peer that has `own` jobs, when the queue is full.
    fn of_the_greediest_peer(&self, own: usize) -> Option<usize> {
        let peers = self.jobs.iter().map(|(claimant, _)| claimant.peer);
        let counted = peers.map(|peer| (self.count(|one| one.peer == peer), peer));
        let (count, peer) = counted.max_by_key(|(count, _)| *count)?;
        if count <= own + 1 {
            return None;
        }
        self.of_the_greediest(|other| other.peer == peer, 0)
            .or_else(|| self.jobs.iter().rposition(|(other, _)| other.peer == peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN_MAX: usize = 16;
    const PART: usize = LEN_MAX / PARTS_PER_PEER;

    fn claimant(peer: u8, user: u8) -> Claimant {
        Claimant {
            peer: Some(IpAddr::from([10, 0, 0, peer])),
            user: [user; 16],
            is_known: false,
        }
    }

    fn known(peer: u8, user: u8) -> Claimant {
        Claimant {
            is_known: true,
            ..claimant(peer, user)
        }
    }

    fn queue() -> Queue<u32> {
        Queue::new(LEN_MAX)
    }

    #[test]
    fn a_storm_for_one_user_pushes_out_itself_and_not_the_others_of_its_address() {
        let mut queue = queue();
        for job in 0..4 {
            assert_eq!(queue.offer(claimant(1, 1), job), Offered::Waits);
        }
        assert_eq!(queue.offer(claimant(1, 1), 4), Offered::Refused);
        assert_eq!(queue.offer(claimant(1, 2), 5), Offered::Instead(3));
        for job in 6..50 {
            assert_eq!(queue.offer(claimant(1, 1), job), Offered::Refused);
        }
        assert_eq!(queue.offer(claimant(1, 3), 50), Offered::Instead(2));
        let served: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(served, [0, 1, 5, 50]);
    }

    #[test]
    fn names_that_are_made_up_make_way_for_users_who_logged_in_there() {
        let mut queue = queue();
        for user in 10..10 + PART as u8 {
            let offered = queue.offer(claimant(1, user), u32::from(user));
            assert_eq!(offered, Offered::Waits);
        }
        assert_eq!(queue.offer(claimant(1, 99), 0), Offered::Refused);
        assert_eq!(queue.offer(known(1, 1), 1), Offered::Instead(13));
        // One at a time: what waits of it already is its part of what is fair.
        assert_eq!(queue.offer(known(1, 1), 2), Offered::Refused);
        assert_eq!(queue.offer(known(1, 2), 3), Offered::Instead(12));
        assert_eq!(queue.len(), PART);
    }

    #[test]
    fn a_full_queue_makes_room_for_a_peer_that_asks_for_less() {
        let mut queue = queue();
        for peer in 1..5 {
            for user in 0..PART as u8 {
                let job = u32::from(peer * 10 + user);
                assert_eq!(queue.offer(claimant(peer, user), job), Offered::Waits);
            }
        }
        assert_eq!(queue.len(), LEN_MAX);
        let Offered::Instead(pushed) = queue.offer(claimant(9, 1), 1) else {
            panic!("no room for another peer");
        };
        assert!(pushed % 10 == 3, "the last of a peer: {pushed}");
        for peer in 10..100 {
            _ = queue.offer(claimant(peer, 1), 1);
            assert_eq!(queue.len(), LEN_MAX);
        }
        let each = |peer| queue.count(|one| one.peer == claimant(peer, 0).peer);
        assert!((1..5).all(|peer| each(peer) > 0), "each keeps something");
    }
}

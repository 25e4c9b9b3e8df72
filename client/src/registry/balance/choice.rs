//! Selects the peer of the next call by the loads of all peers (power of two choices).
//!
//! Two candidates are drawn by weight and the less loaded of them is taken. This spreads traffic by
//! weight while all are idle, avoids slow peers, and does not send all callers to the same peer.
//! Peers of the caller's zone are preferred until they are much more loaded than others.

use rand::Rng;

/// Ratio of loads between a peer in the zone and one outside at which traffic leaves the zone.
/// Crossing zones costs latency and often money; overload costs more.
const SPILL: u64 = 4;

/// The load of one peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Share of traffic; greater than zero.
    pub(super) weight: u32,
    /// Calls under way.
    pub(super) in_flight: u32,
    /// In the caller's zone.
    pub(super) near: bool,
    /// Its breaker admits no call.
    pub(super) ejected: bool,
}

impl Load {
    /// Whether this one is more loaded than `other`, for its weight.
    fn exceeds(self, other: Self) -> bool {
        let mine = u64::from(self.in_flight) * u64::from(other.weight);
        mine > u64::from(other.in_flight) * u64::from(self.weight)
    }

    /// Whether this peer is so much more loaded than `far` that the call should leave the zone.
    fn spills_to(self, far: Self) -> bool {
        let mine = u128::from(self.in_flight) * u128::from(far.weight);
        let theirs = u128::from(far.in_flight.saturating_add(1)) * u128::from(self.weight);
        mine > theirs * u128::from(SPILL)
    }
}

/// The index of the peer to call; nothing when there is none.
///
/// When more than half are ejected, ejections are ignored: a fault of most peers is more likely the
/// caller's own, and half of the peers could not carry the load of all.
pub(super) fn choose(loads: &[Load], random: &mut impl Rng) -> Option<usize> {
    let healthy = loads.iter().filter(|load| !load.ejected).count();
    let all = healthy * 2 < loads.len();
    let of = |near| -> Vec<usize> {
        let usable = (0..loads.len()).filter(|&index| all || !loads[index].ejected);
        usable.filter(|&index| loads[index].near == near).collect()
    };
    let near = lighter_of_two(loads, &of(true), random);
    let far = lighter_of_two(loads, &of(false), random);
    match (near, far) {
        (Some(near), Some(far)) if loads[near].spills_to(loads[far]) => Some(far),
        (Some(near), _) => Some(near),
        (None, far) => far,
    }
}

fn lighter_of_two(loads: &[Load], candidates: &[usize], random: &mut impl Rng) -> Option<usize> {
    let first = draw(loads, candidates, random)?;
    let others: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|&index| index != first)
        .collect();
    let Some(second) = draw(loads, &others, random) else {
        return Some(first);
    };
    Some(if loads[first].exceeds(loads[second]) {
        second
    } else {
        first
    })
}

/// A random candidate, with probability proportional to its weight.
fn draw(loads: &[Load], candidates: &[usize], random: &mut impl Rng) -> Option<usize> {
    let total: u64 = candidates
        .iter()
        .map(|&index| u64::from(loads[index].weight))
        .sum();
    if total == 0 {
        return None;
    }
    let mut point = random.random_range(0..total);
    candidates.iter().copied().find(|&index| {
        let weight = u64::from(loads[index].weight);
        let here = point < weight;
        point = point.saturating_sub(weight);
        here
    })
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const IDLE: Load = Load {
        weight: 100,
        in_flight: 0,
        near: true,
        ejected: false,
    };

    /// How often each is chosen, of ten thousand times.
    fn counts(loads: &[Load]) -> Vec<u32> {
        let mut random = StdRng::seed_from_u64(7);
        let mut counts = vec![0; loads.len()];
        for _ in 0..10_000 {
            counts[choose(loads, &mut random).expect("there are peers")] += 1;
        }
        counts
    }

    #[test]
    fn nobody_is_chosen_from_nobody() {
        assert_eq!(choose(&[], &mut StdRng::seed_from_u64(7)), None);
    }

    #[test]
    fn idle_peers_get_their_weight_in_traffic() {
        let counts = counts(&[
            IDLE,
            Load {
                weight: 300,
                ..IDLE
            },
        ]);
        assert!((2_300..2_700).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn a_loaded_peer_is_passed_over_for_its_weight() {
        let busy = Load {
            in_flight: 5,
            ..IDLE
        };
        let strong = Load {
            in_flight: 8,
            weight: 200,
            ..IDLE
        };
        assert_eq!(counts(&[busy, IDLE]), [0, 10_000]);
        assert_eq!(counts(&[busy, strong]), [0, 10_000]);
    }

    #[test]
    fn the_most_loaded_of_three_is_never_chosen_and_the_others_share() {
        let busy = Load {
            in_flight: 9,
            ..IDLE
        };
        let counts = counts(&[busy, IDLE, IDLE]);
        assert_eq!(counts[0], 0);
        assert!(counts[1] > 4_000 && counts[2] > 4_000, "{counts:?}");
    }

    #[test]
    fn traffic_stays_in_the_zone_until_it_is_much_more_loaded() {
        let far = Load {
            near: false,
            ..IDLE
        };
        let warm = Load {
            in_flight: 4,
            ..IDLE
        };
        assert_eq!(counts(&[warm, far]), [10_000, 0]);
        let hot = Load {
            in_flight: 5,
            ..IDLE
        };
        assert_eq!(counts(&[hot, far]), [0, 10_000]);
        assert_eq!(counts(&[far]), [10_000]);
    }

    #[test]
    fn ejected_peers_get_nothing_unless_they_are_the_most() {
        let ejected = Load {
            ejected: true,
            ..IDLE
        };
        assert_eq!(counts(&[ejected, IDLE]), [0, 10_000]);
        let counts = counts(&[ejected, ejected, IDLE]);
        assert!(counts.iter().all(|&count| count > 2_000), "{counts:?}");
    }
}

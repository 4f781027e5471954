//! Which machines take the slots of a placement group: a draw from public randomness.
//!
//! Version 1. Everyone who knows the registry and the seed computes the same draw, so nobody
//! chooses. Slots are filled one after the other; for each, the candidates are narrowed to
//! 1. operators below their bound; if there are none, operators with the fewest slots, and the
//!    draw says that the bound was not kept;
//! 2. of these, the zones with the fewest slots of the group;
//!
//! and one is drawn by weight. Each pick uses up exactly one place of one operator, so the bound is
//! kept whenever the operators have enough places between them.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::names::NodeId;

/// A machine that may be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The machine.
    pub node: NodeId,
    /// Who answers for it: machines of one operator are one adversary.
    pub operator: NodeId,
    /// What it shares its fate with.
    pub zone: &'a str,
    /// Free bytes, say; zero counts as one.
    pub weight: u64,
}

/// What a group uses already, before a draw.
#[derive(Clone, Debug, Default)]
pub struct Seats<'a> {
    /// Slots whose share an operator holds, or held in the current epoch.
    pub operators: BTreeMap<NodeId, usize>,
    /// Slots held in a zone.
    pub zones: BTreeMap<&'a str, usize>,
}

/// The outcome of a draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Distinct machines, in the order of the slots.
    pub nodes: Vec<NodeId>,
    /// False if there were too few operators to keep each at its bound.
    pub operator_bound_kept: bool,
}

/// Most slots of one group for one operator, ⌊(k−1)/2⌋ but at least one: even two operators
/// together stay below the read threshold k of the key code, if k is at least 3.
pub fn operator_slots_max(k: u8) -> usize {
    (usize::from(k).saturating_sub(1) / 2).max(1)
}

/// Slots that a machine holds, on average, where there are many more machines than a group has slots:
/// a machine that is lost is rebuilt by the holders of as many groups at once, and what it held is
/// spread over as many newcomers.
const SLOTS_PER_MACHINE: u64 = 4;
/// Most groups that one more machine brings; a network that was small under other rules catches up
/// with its next machines.
pub const NEW_GROUPS_MAX: u32 = 4;

/// How many groups of `n` slots a network of so many storage machines has: none below n, one with just
/// n, and from there on so many that a machine more brings [`SLOTS_PER_MACHINE`] slots.
pub fn groups_due(machines: u32, n: u8) -> u32 {
    let Some(spare) = machines.checked_sub(n.into()) else { return 0 };
    let more = u64::from(spare) * SLOTS_PER_MACHINE / u64::from(n.max(1));
    u32::try_from(more + 1).unwrap_or(u32::MAX)
}

/// Draws `count` of the candidates, who are distinct; `None` if there are fewer.
pub fn draw<'a>(
    seed: [u8; 32],
    count: usize,
    operator_slots_max: usize,
    mut seats: Seats<'a>,
    candidates: &[Candidate<'a>],
) -> Option<Draw> {
    let mut rng = ChaCha20Rng::from_seed(seed);
    let mut drawn = BTreeSet::new();
    let mut outcome = Draw { nodes: Vec::with_capacity(count), operator_bound_kept: true };
    for _ in 0..count {
        let left = candidates.iter().filter(|candidate| !drawn.contains(&candidate.node));
        let slots_of = |candidate: &Candidate<'_>| {
            seats.operators.get(&candidate.operator).copied().unwrap_or(0)
        };
        let below = |candidate: &Candidate<'_>| slots_of(candidate) < operator_slots_max;
        let mut eligible: Vec<_> = left.clone().copied().filter(below).collect();
        if eligible.is_empty() {
            eligible = fewest(left.copied(), slots_of);
            outcome.operator_bound_kept = false;
        }
        let eligible = fewest(eligible.into_iter(), |candidate| {
            seats.zones.get(candidate.zone).copied().unwrap_or(0)
        });
        let pick = pick_by_weight(&mut rng, &eligible)?;
        drawn.insert(pick.node);
        outcome.nodes.push(pick.node);
        *seats.operators.entry(pick.operator).or_default() += 1;
        *seats.zones.entry(pick.zone).or_default() += 1;
    }
    Some(outcome)
}

/// Those candidates of which `count` is least.
fn fewest<'a>(
    candidates: impl Iterator<Item = Candidate<'a>>,
    count: impl Fn(&Candidate<'a>) -> usize,
) -> Vec<Candidate<'a>> {
    let mut least = usize::MAX;
    let mut kept = Vec::new();
    for candidate in candidates {
        let count = count(&candidate);
        if count < least {
            least = count;
            kept.clear();
        }
        if count == least {
            kept.push(candidate);
        }
    }
    kept
}

fn pick_by_weight<'a>(rng: &mut impl Rng, candidates: &[Candidate<'a>]) -> Option<Candidate<'a>> {
    let weight = |candidate: &Candidate<'a>| u128::from(candidate.weight.max(1));
    let total: u128 = candidates.iter().map(weight).sum();
    if total == 0 {
        return None;
    }
    let mut point = uniform_below(rng, total);
    candidates.iter().copied().find(|candidate| {
        let weight = weight(candidate);
        let hit = point < weight;
        point = point.saturating_sub(weight);
        hit
    })
}

/// Uniform below `bound`, which is not zero: values beyond its last multiple are drawn again.
fn uniform_below(rng: &mut impl Rng, bound: u128) -> u128 {
    let last_multiple = u128::MAX - u128::MAX % bound;
    loop {
        let value = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        if value < last_multiple {
            return value % bound;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId([number; 32])
    }

    fn candidates(operators: &[u8]) -> Vec<Candidate<'static>> {
        let zones = ["north", "east", "south"];
        let machine = |(number, operator): (usize, &u8)| Candidate {
            node: node(number as u8),
            operator: node(100 + operator),
            zone: zones[number % 3],
            weight: 1000 + number as u64,
        };
        operators.iter().enumerate().map(machine).collect()
    }

    #[test]
    fn the_bound_leaves_two_operators_below_the_threshold() {
        for k in 3..=255u8 {
            assert!(2 * operator_slots_max(k) < usize::from(k));
        }
        assert_eq!(operator_slots_max(2), 1);
    }

    #[test]
    fn the_draw_of_version_1_is_frozen() {
        let drawn = draw([7; 32], 5, 2, Seats::default(), &candidates(&[0, 1, 2, 3, 4, 0, 1, 2]));
        let numbers: Vec<u8> =
            drawn.expect("enough machines").nodes.iter().map(|node| node.0[0]).collect();
        assert_eq!(numbers, [1, 0, 5, 3, 4]);
    }

    #[test]
    fn groups_are_as_many_as_machines_can_fill() {
        let due = |n: u8| [0, 4, 5, 6, 7, 10, 24, 1000].map(|machines| groups_due(machines, n));
        assert_eq!(due(5), [0, 0, 1, 1, 2, 5, 16, 797]);
        assert_eq!(due(10), [0, 0, 0, 0, 0, 1, 6, 397]);
        assert_eq!(due(255)[7], 12);
        assert_eq!(groups_due(u32::MAX, 1), u32::MAX);
    }

    #[test]
    fn weight_decides_how_often() {
        let mut machines = candidates(&[0, 1]);
        machines.iter_mut().for_each(|machine| machine.zone = "north");
        (machines[0].weight, machines[1].weight) = (3, 1);
        let heavy = (0..4000u32).filter(|round| {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&round.to_be_bytes());
            draw(seed, 1, 1, Seats::default(), &machines).expect("enough").nodes[0] == node(0)
        });
        let heavy = heavy.count();
        // mean 3000, standard deviation 27
        assert!((2850..3150).contains(&heavy), "{heavy}");
    }

    proptest! {
        #[test]
        fn draws_are_distinct_bounded_and_repeatable(
            operators in prop::collection::vec(0u8..8, 1..40), count in 1usize..20, bound in 1usize..4,
            seed in any::<[u8; 32]>(),
        ) {
            let machines = candidates(&operators);
            let drawn = draw(seed, count, bound, Seats::default(), &machines);
            prop_assert_eq!(&drawn, &draw(seed, count, bound, Seats::default(), &machines));
            prop_assert_eq!(drawn.is_some(), count <= machines.len());
            let Some(drawn) = drawn else { return Ok(()) };
            let distinct: BTreeSet<_> = drawn.nodes.iter().collect();
            prop_assert_eq!(distinct.len(), count);
            let operator = |node: &NodeId| operators[node.0[0] as usize];
            let most = |operator_of: u8| {
                drawn.nodes.iter().filter(|node| operator(node) == operator_of).count()
            };
            let places: usize = (0..8)
                .map(|of| operators.iter().filter(|operator| **operator == of).count().min(bound))
                .sum();
            prop_assert_eq!(drawn.operator_bound_kept, places >= count);
            if drawn.operator_bound_kept {
                prop_assert!((0..8).all(|operator| most(operator) <= bound));
            }
        }

        #[test]
        fn zones_fill_evenly_when_operators_do_not_matter(count in 1usize..30, seed in any::<[u8; 32]>()) {
            let machines = candidates(&(0..30).collect::<Vec<_>>());
            let drawn = draw(seed, count, 1, Seats::default(), &machines).expect("enough");
            let in_zone = |zone| drawn.nodes.iter().filter(|node| node.0[0] % 3 == zone).count();
            let mut sizes = [in_zone(0), in_zone(1), in_zone(2)];
            sizes.sort_unstable();
            prop_assert!(sizes[2] - sizes[0] <= 1);
        }
    }
}

//! Which machine holds which share.

use std::ops::{Add, AddAssign};

use super::Fleet;
use crate::random::{LANES, Purpose, Source, Stream};

/// The machines of the shares, and the shares of the machines (compressed sparse rows).
///
/// Share number g n + s is slot s of group g.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    holders: Vec<u32>,
    /// How many shares each machine has.
    counts: Vec<u32>,
    /// The shares of node i are `shares[first[i]..first[i + 1]]`; empty until [`index`](Self::index).
    first: Vec<u32>,
    shares: Vec<u32>,
    divider: Divider,
    /// Of zones: the last group that has a slot there.
    visited: Vec<u32>,
}

/// Divides by a constant of at least 2 with one multiplication, exactly (Granlund, Montgomery,
/// "Division by invariant integers using multiplication", PLDI 1994, theorem 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Divider(u64);

impl Divider {
    fn new(divisor: u32) -> Self {
        debug_assert!(divisor >= 2);
        Self(u64::MAX / u64::from(divisor) + 1)
    }

    /// The quotient.
    #[inline]
    pub(super) fn divide(self, dividend: u32) -> u32 {
        ((u128::from(dividend) * u128::from(self.0)) >> 64) as u32
    }
}

/// Slots of a group beyond which it is slower to compare them with each other than to draw again.
const RANKED_SLOTS_MAX: u8 = 16;

/// Outcomes of several slots that share a word, at most: one word in 2^16 is drawn again.
const OUTCOMES_MAX: u64 = 1 << 16;

impl Placement {
    /// Draws every group's machines: the law of `kakera_engine::policy::placement::draw` for equal
    /// weights and one operator a machine, without its pass over all candidates for each slot.
    pub fn draw(fleet: &Fleet, source: &Source) -> Self {
        let mut placement = Self {
            holders: Vec::with_capacity(fleet.groups as usize * usize::from(fleet.n)),
            counts: vec![0; fleet.nodes as usize],
            first: Vec::new(),
            shares: Vec::new(),
            divider: Divider::new(fleet.n.into()),
            visited: Vec::new(),
        };
        placement.draw_again(fleet, source);
        placement
    }

    /// Draws anew for the same fleet, in the same memory.
    pub fn draw_again(&mut self, fleet: &Fleet, source: &Source) {
        self.counts.fill(0);
        self.first.clear();
        let mut stream = source.stream(Purpose::Placement);
        if u32::from(fleet.n) > fleet.zones {
            self.draw_shared_zones(fleet, &mut stream);
        } else if fleet.n <= RANKED_SLOTS_MAX && fleet.nodes.is_multiple_of(fleet.zones) {
            match fleet.zones {
                0..=256 => self.draw_ranks::<u8>(fleet, &mut stream),
                _ => self.draw_ranks::<u32>(fleet, &mut stream),
            }
        } else {
            self.draw_distinct_zones(fleet, &mut stream);
        }
    }

    /// Of zones that are all as large, the slots of several groups at once: of the zones that have no
    /// slot of the group yet, one by its rank, and then a machine of it.
    fn draw_ranks<Z: Zone>(&mut self, fleet: &Fleet, stream: &mut Stream) {
        let n = usize::from(fleet.n);
        let machines = fleet.nodes / fleet.zones;
        let choices: Vec<u32> = (0..fleet.n).map(|slot| fleet.zones - u32::from(slot)).collect();
        let words = words_of_slots(&choices, machines);
        let shares = fleet.groups as usize * n;
        self.holders.resize(shares.next_multiple_of(LANES * n), 0);
        // Of each group the zones that have a slot, in ascending order.
        let mut taken = [[Z::from(false); LANES]; RANKED_SLOTS_MAX as usize];
        let mut zones = [Z::from(false); LANES];
        let [mut fractions, mut places] = [[0; LANES]; 2];
        let mut left = shares;
        for groups in self.holders.chunks_exact_mut(LANES * n) {
            for slot in 0..n {
                if let Some(outcomes) = words[slot] {
                    stream.draw_words(outcomes, &mut fractions);
                }
                take_digits(&mut fractions, choices[slot], &mut zones);
                take_digits(&mut fractions, machines, &mut places);
                take_zones(&mut taken[..=slot], &mut zones);
                for (group, (&zone, place)) in
                    groups.chunks_exact_mut(n).zip(zones.iter().zip(&places))
                {
                    group[slot] = zone.into() + place * fleet.zones;
                }
            }
            let held = &groups[..left.min(LANES * n)];
            left -= held.len();
            held.iter().for_each(|&node| self.counts[node as usize] += 1);
        }
        self.holders.truncate(shares);
    }

    /// Machines are drawn until one is in a zone that has no slot of the group yet.
    fn draw_distinct_zones(&mut self, fleet: &Fleet, stream: &mut Stream) {
        const NO_GROUP: u32 = u32::MAX;
        self.visited.clear();
        self.visited.resize(fleet.zones as usize, NO_GROUP);
        let one_machine_a_zone = fleet.zones == fleet.nodes;
        let by_zones = Divider::new(fleet.zones);
        let shares = fleet.groups as usize * usize::from(fleet.n);
        self.holders.resize(shares, 0);
        let (mut share, mut group, mut slots) = (0, 0, 0);
        // No branch depends on what is drawn: a machine that is refused is written over.
        while share < shares {
            let node = stream.below(fleet.nodes);
            let zone =
                if one_machine_a_zone { node } else { node - by_zones.divide(node) * fleet.zones };
            let fits = self.visited[zone as usize] != group;
            self.visited[zone as usize] = group;
            self.holders[share] = node;
            self.counts[node as usize] += u32::from(fits);
            share += usize::from(fits);
            slots += u8::from(fits);
            let full = slots == fleet.n;
            group += u32::from(full);
            slots = if full { 0 } else { slots };
        }
    }

    /// Machines are drawn until one is in a zone that has as few slots of the group as any.
    fn draw_shared_zones(&mut self, fleet: &Fleet, stream: &mut Stream) {
        self.holders.clear();
        let mut seats = vec![0u8; fleet.zones as usize];
        for _ in 0..fleet.groups {
            let start = self.holders.len();
            // The slots of the emptiest zones, and how many of these still take one.
            let (mut fewest, mut open) = (0u8, fleet.zones);
            for _ in 0..fleet.n {
                if open == 0 {
                    fewest += 1;
                    open = zones_with_more(fleet, fewest);
                }
                let node = loop {
                    let node = stream.below(fleet.nodes);
                    if seats[(node % fleet.zones) as usize] == fewest
                        && !self.holders[start..].contains(&node)
                    {
                        break node;
                    }
                };
                seats[(node % fleet.zones) as usize] += 1;
                open -= 1;
                self.counts[node as usize] += 1;
                self.holders.push(node);
            }
            self.holders[start..].iter().for_each(|node| seats[(node % fleet.zones) as usize] = 0);
        }
    }

    /// Sorts the shares by machines, once; before, only their counts are known.
    pub fn index(&mut self) {
        if !self.first.is_empty() {
            return;
        }
        // Filling a row moves its begin to its end, which is the begin of the next.
        self.first.reserve(self.counts.len() + 1);
        self.first.push(0);
        let mut sum = 0;
        for &count in &self.counts {
            self.first.push(sum);
            sum += count;
        }
        self.shares.resize(self.holders.len(), 0);
        for (share, &node) in self.holders.iter().enumerate() {
            let place = &mut self.first[node as usize + 1];
            self.shares[*place as usize] = share as u32;
            *place += 1;
        }
    }

    /// The machine of a share.
    pub fn holder(&self, share: u32) -> u32 {
        self.holders[share as usize]
    }

    /// How many shares a machine has.
    pub fn count(&self, node: u32) -> u32 {
        self.counts[node as usize]
    }

    /// The numbers of the shares of a machine, ascending, after [`index`](Self::index).
    #[inline]
    pub fn shares(&self, node: u32) -> &[u32] {
        let row = self.first[node as usize] as usize..self.first[node as usize + 1] as usize;
        &self.shares[row]
    }

    /// The divider that takes a share to its group.
    #[inline]
    pub(super) fn divider(&self) -> Divider {
        self.divider
    }

    /// The group of a share.
    #[inline]
    pub fn group(&self, share: u32) -> u32 {
        self.divider.divide(share)
    }
}

/// For each slot, if it takes another word: the outcomes that the word is to tell apart, for this slot
/// and those after it that share the word.
fn words_of_slots(choices: &[u32], machines: u32) -> Vec<Option<u32>> {
    let mut words = vec![None; choices.len()];
    let (mut first, mut shared) = (0, u64::MAX);
    for (slot, &zones) in choices.iter().enumerate() {
        let outcomes = u64::from(zones) * u64::from(machines);
        shared = shared.saturating_mul(outcomes);
        if shared > OUTCOMES_MAX {
            (first, shared) = (slot, outcomes);
        }
        words[first] = u32::try_from(shared).ok();
    }
    words
}

/// The number of a zone: a byte where that is enough, so that more lanes are in a vector register.
trait Zone: Copy + Ord + Add<Output = Self> + AddAssign + From<bool> + Into<u32> {
    /// Of a number that is small enough.
    fn of(number: u32) -> Self;
}

impl Zone for u8 {
    #[inline]
    fn of(number: u32) -> Self {
        number as Self
    }
}

impl Zone for u32 {
    #[inline]
    fn of(number: u32) -> Self {
        number
    }
}

// Loops over so many lanes, and each on its own, become vector instructions.

/// Of every fraction of 2^32 its first digit to a base; leaves what comes after it.
#[inline(never)]
fn take_digits<Z: Zone>(fractions: &mut [u32; LANES], base: u32, digits: &mut [Z; LANES]) {
    for (fraction, digit) in fractions.iter_mut().zip(digits) {
        let product = u64::from(*fraction) * u64::from(base);
        (*fraction, *digit) = (product as u32, Z::of((product >> 32) as u32));
    }
}

/// From ranks among the zones that are not taken to these zones, which then are taken too: they are
/// sorted in, the last row being free.
#[inline(never)]
fn take_zones<Z: Zone>(taken: &mut [[Z; LANES]], zones: &mut [Z; LANES]) {
    let Some((last, taken)) = taken.split_last_mut() else { return };
    // The zone, and from where it is sorted in on, what it has shifted: that passes over nothing.
    let mut carried = *zones;
    for taken in taken {
        for lane in 0..LANES {
            let passes = Z::from(carried[lane] >= taken[lane]);
            zones[lane] += passes;
            let zone = carried[lane] + passes;
            (taken[lane], carried[lane]) = (taken[lane].min(zone), taken[lane].max(zone));
        }
    }
    *last = carried;
}

/// Zones with more than so many machines.
fn zones_with_more(fleet: &Fleet, machines: u8) -> u32 {
    let least = fleet.nodes / fleet.zones;
    match u32::from(machines).cmp(&least) {
        std::cmp::Ordering::Less => fleet.zones,
        std::cmp::Ordering::Equal => fleet.nodes % fleet.zones,
        std::cmp::Ordering::Greater => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use kakera_engine::names::NodeId;
    use kakera_engine::policy::placement::{self, Candidate, Seats};

    use super::super::tests::small_fleet;
    use super::*;

    const ZONES: [&str; 3] = ["0", "1", "2"];

    /// How often a machine is drawn, and how often two are drawn together.
    fn marginals(groups: impl Iterator<Item = Vec<u32>>) -> (Vec<f64>, f64) {
        let (mut single, mut pair, mut count) = (vec![0.0; 8], 0.0, 0.0);
        for group in groups {
            count += 1.0;
            group.iter().for_each(|&node| single[node as usize] += 1.0);
            pair += f64::from(u8::from(group.contains(&0) && group.contains(&3)));
        }
        single.iter_mut().for_each(|hits| *hits /= count);
        (single, pair / count)
    }

    /// Eight machines in zones of 3, 3 and 2, groups of 5: the same frequencies as the engine's.
    #[test]
    fn draws_as_the_policy_does() {
        let groups = 4000;
        let fleet = Fleet { nodes: 8, zones: 3, groups, n: 5, ..small_fleet() };
        let drawn = Placement::draw(&fleet, &Source::new(1, 0));
        let ours = marginals(drawn.holders.chunks(5).map(<[u32]>::to_vec));

        let node = |number: u8| NodeId([number; 32]);
        let candidates: Vec<Candidate<'_>> = (0..8)
            .map(|i| Candidate {
                node: node(i),
                operator: node(i),
                zone: ZONES[usize::from(i % 3)],
                weight: 1,
            })
            .collect();
        let engine = marginals((0..groups).map(|seed| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&seed.to_be_bytes());
            let draw = placement::draw(bytes, 5, 1, Seats::default(), &candidates).unwrap();
            draw.nodes.iter().map(|node| u32::from(node.0[0])).collect()
        }));
        // Four standard deviations of the difference of two frequencies.
        let bound = 4.0 * (0.5 / f64::from(groups)).sqrt();
        for (a, b) in ours.0.iter().zip(&engine.0).chain([(&ours.1, &engine.1)]) {
            assert!((a - b).abs() < bound, "{ours:?} {engine:?}");
        }
    }

    #[test]
    fn groups_have_distinct_machines_and_spread_over_zones() {
        let fleet = Fleet { nodes: 10, zones: 4, groups: 50, n: 7, ..small_fleet() };
        let placement = Placement::draw(&fleet, &Source::new(2, 0));
        for group in placement.holders.chunks(7) {
            assert_eq!(group.iter().collect::<BTreeSet<_>>().len(), 7);
            let mut zones = BTreeMap::new();
            group.iter().for_each(|node| *zones.entry(node % 4).or_insert(0) += 1);
            assert!(zones.len() == 4 && zones.values().all(|&slots| slots <= 2), "{zones:?}");
        }
    }

    #[test]
    fn small_zones_fill_up() {
        let fleet = Fleet { nodes: 8, zones: 3, groups: 5, n: 8, ..small_fleet() };
        let placement = Placement::draw(&fleet, &Source::new(2, 0));
        assert!((0..8).all(|node| placement.count(node) == 5));
    }

    #[test]
    fn rows_are_the_inverse_of_holders() {
        let fleet = Fleet { nodes: 9, zones: 1, groups: 20, n: 4, ..small_fleet() };
        let mut placement = Placement::draw(&fleet, &Source::new(2, 0));
        for replication in 0..3 {
            placement.draw_again(&fleet, &Source::new(2, replication));
            placement.index();
            let mut shares = 0;
            for node in 0..9 {
                assert_eq!(placement.shares(node).len(), placement.count(node) as usize);
                for &share in placement.shares(node) {
                    assert_eq!(placement.holder(share), node);
                    assert_eq!(placement.group(share), share / 4);
                    shares += 1;
                }
            }
            assert_eq!(shares, 80);
        }
    }

    #[test]
    fn division_by_multiplication_is_exact() {
        for divisor in (2..=300).chain([65_537, 1_000_003, u32::MAX / 2]) {
            let divider = Divider::new(divisor);
            for quotient in [0, 1, 77, 1 << 20].map(|quotient: u32| quotient % (u32::MAX / divisor))
            {
                let first = quotient * divisor;
                assert_eq!(divider.divide(first), quotient);
                assert_eq!(divider.divide(first + (divisor - 1)), quotient);
            }
        }
    }
}

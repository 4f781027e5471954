//! Which machine holds which share.

use super::Fleet;
use crate::random::{Purpose, Source};

/// The machines of the shares, and the shares of the machines (compressed sparse rows).
///
/// Share number g n + s is slot s of group g.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    holders: Vec<u32>,
    /// The shares of node i are `shares[first[i]..first[i + 1]]`.
    first: Vec<u32>,
    shares: Vec<u32>,
}

impl Placement {
    /// Draws every group's machines: the law of `kakera_engine::policy::placement::draw` for equal
    /// weights and one operator a machine, without its pass over all candidates for each slot.
    pub fn draw(fleet: &Fleet, source: &Source) -> Self {
        let mut holders = Vec::with_capacity(fleet.groups as usize * usize::from(fleet.n));
        let mut seats = vec![0u8; fleet.zones as usize];
        for group in 0..fleet.groups {
            let start = holders.len();
            let mut draws = 0;
            let mut drawn = std::iter::repeat_with(|| {
                draws += 1;
                source.draw(group, Purpose::Placement, draws).below(fleet.nodes.into()) as u32
            });
            // The slots of the emptiest zones, and how many of these still take one.
            let (mut fewest, mut open) = (0u8, fleet.zones);
            for _ in 0..fleet.n {
                if open == 0 {
                    fewest += 1;
                    open = zones_with_more(fleet, fewest);
                }
                let eligible = |&node: &u32| {
                    seats[(node % fleet.zones) as usize] == fewest
                        && !holders[start..].contains(&node)
                };
                // The policy draws from the eligible; drawing until one is has the same law.
                let Some(node) = drawn.find(eligible) else { break };
                seats[(node % fleet.zones) as usize] += 1;
                open -= 1;
                holders.push(node);
            }
            holders[start..].iter().for_each(|node| seats[(node % fleet.zones) as usize] = 0);
        }
        Self::of_holders(holders, fleet.nodes as usize)
    }

    fn of_holders(holders: Vec<u32>, nodes: usize) -> Self {
        let mut first = vec![0u32; nodes + 1];
        for &node in &holders {
            first[node as usize + 1] += 1;
        }
        for node in 0..nodes {
            first[node + 1] += first[node];
        }
        let mut next = first.clone();
        let mut shares = vec![0u32; holders.len()];
        for (share, &node) in holders.iter().enumerate() {
            let place = &mut next[node as usize];
            shares[*place as usize] = share as u32;
            *place += 1;
        }
        Self { holders, first, shares }
    }

    /// The machine of a share.
    pub fn holder(&self, share: u32) -> u32 {
        self.holders[share as usize]
    }

    /// The numbers of the shares of a machine, ascending, as a range for [`share`](Self::share).
    pub fn range(&self, node: u32) -> std::ops::Range<u32> {
        self.first[node as usize]..self.first[node as usize + 1]
    }

    /// The share at a place of a machine's range.
    pub fn share(&self, place: u32) -> u32 {
        self.shares[place as usize]
    }
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
        assert!((0..8).all(|node| placement.range(node).len() == 5));
    }

    #[test]
    fn rows_are_the_inverse_of_holders() {
        let fleet = Fleet { nodes: 9, zones: 1, groups: 20, n: 4, ..small_fleet() };
        let placement = Placement::draw(&fleet, &Source::new(2, 0));
        let mut shares = 0;
        for node in 0..9 {
            for place in placement.range(node) {
                assert_eq!(placement.holder(placement.share(place)), node);
                shares += 1;
            }
        }
        assert_eq!(shares, 80);
    }
}

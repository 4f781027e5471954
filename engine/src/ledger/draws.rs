//! Draws: the beacon of a block decides who takes the slots that earlier blocks left open.

use std::collections::BTreeMap;

use super::log::Digest32;
use super::registry::{Group, Holder, Node, PendingDraw, StateKey, Vacated};
use super::state::{CARE, State};
use crate::hash::hash;
use crate::names::{NodeId, Slot};
use crate::policy::placement::{Candidate, Draw, Seats, draw, operator_slots_max};

impl State {
    /// Makes every draw that can be made; the others wait for more machines.
    pub(super) fn decide_draws(&mut self, beacon: &Digest32) {
        let pending = self.pending();
        if !pending.iter().any(|draw| self.is_placeable(draw)) {
            return;
        }
        let mut storage: BTreeMap<NodeId, Node> =
            self.nodes().filter(Node::takes_slots).map(|node| (node.join.node, node)).collect();
        let mut waiting = pending;
        waiting.retain(|draw| !self.decide_draw(draw, beacon, &mut storage));
        self.write(&StateKey::Pending, &waiting);
    }

    /// Whether there are enough machines for a draw.
    pub(super) fn is_placeable(&self, pending: &PendingDraw) -> bool {
        let Some(group) = self.group(pending.group) else { return false };
        let storage_nodes = self.counts().storage_nodes as usize;
        if pending.slot.is_none() {
            return storage_nodes >= group.code.n.into();
        }
        let seated = group.holders.iter().filter_map(|holder| self.node(&holder.node));
        storage_nodes > seated.filter(Node::takes_slots).count()
    }

    /// False if there are too few machines; nothing changed then.
    fn decide_draw(
        &mut self,
        pending: &PendingDraw,
        beacon: &Digest32,
        storage: &mut BTreeMap<NodeId, Node>,
    ) -> bool {
        let Some(mut group) = self.group(pending.group).cloned() else { return false };
        let Some(drawn) = self.draw(pending, &group, beacon, storage) else { return false };
        group.operator_bound_kept = drawn.operator_bound_kept;
        let since = self.height;
        let filling = (self.version() >= CARE && pending.slot.is_some()).then_some(true);
        let newcomers = drawn.nodes.iter().map(|node| Holder { node: *node, since, filling });
        match pending.slot {
            None => {
                group.holders = newcomers.collect();
                self.begin_epochs(&mut group);
            }
            Some(slot) => {
                for newcomer in newcomers {
                    let left = std::mem::replace(&mut group.holders[slot.index()], newcomer);
                    group.vacated.push(Vacated { slot, node: left.node, until: since });
                    self.count_slots(&left.node, storage, |slots| slots - 1);
                }
            }
        }
        for node in &drawn.nodes {
            self.count_slots(node, storage, |slots| slots + 1);
        }
        self.write_group(pending.group, group);
        true
    }

    fn draw(
        &self,
        pending: &PendingDraw,
        group: &Group,
        beacon: &Digest32,
        storage: &BTreeMap<NodeId, Node>,
    ) -> Option<Draw> {
        let (count, point) = match pending.slot {
            None => (group.code.n.into(), 0),
            Some(slot) => (1, slot.point()),
        };
        let registered: BTreeMap<NodeId, Node> = group
            .holders
            .iter()
            .map(|holder| holder.node)
            .chain(group.vacated.iter().map(|vacated| vacated.node))
            .filter_map(|node| Some((node, self.node(&node)?)))
            .collect();
        let seats = seats(group, pending.slot, &registered);
        let candidates: Vec<Candidate<'_>> = storage
            .values()
            .filter(|node| group.slot_of(&node.join.node).is_none())
            .map(|node| Candidate {
                node: node.join.node,
                operator: node.join.operator,
                zone: &node.join.zone,
                weight: node.join.quota_bytes / (u64::from(node.slots) + 1),
            })
            .collect();
        let id = pending.group.0.to_be_bytes();
        let seed = hash("placement", &[beacon, &id, &[point]]);
        draw(seed, count, operator_slots_max(group.key.k()), seats, &candidates)
    }

    fn count_slots(
        &mut self,
        name: &NodeId,
        storage: &mut BTreeMap<NodeId, Node>,
        count: impl Fn(u32) -> u32,
    ) {
        let Some(mut node) = self.node(name) else { return };
        node.slots = count(node.slots);
        self.write(&StateKey::Node(*name), &node);
        if node.takes_slots() {
            storage.insert(*name, node);
        }
    }
}

/// Operators know the shares of the slots they hold and of those they left in this epoch; zones
/// share the fate of present holders only. The leaving holder of `slot` still knows its share.
fn seats<'a>(
    group: &Group,
    slot: Option<Slot>,
    registered: &'a BTreeMap<NodeId, Node>,
) -> Seats<'a> {
    let mut seats = Seats::default();
    for (place, holder) in Slot::all(group.code.n).zip(&group.holders) {
        if let Some(node) = registered.get(&holder.node) {
            *seats.operators.entry(node.join.operator).or_default() += 1;
            if Some(place) != slot {
                *seats.zones.entry(&node.join.zone).or_default() += 1;
            }
        }
    }
    for vacated in &group.vacated {
        if let Some(node) = registered.get(&vacated.node) {
            *seats.operators.entry(node.join.operator).or_default() += 1;
        }
    }
    seats
}

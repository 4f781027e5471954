//! What is left of each group, as fast mode counts it: shares that exist, answer, and are exposed.

use std::time::Duration;

use kakera_engine::names::{GroupId, Slot};

use super::world::World;
use crate::fleet::{Fleet, Tally};
use crate::time::Nanoseconds;

/// The groups of a network whose objects are all put.
pub(super) struct Health {
    groups: Vec<Group>,
    /// Groups that are not lost.
    pub(super) left: u32,
    losses: u64,
    leaks: u64,
}

struct Group {
    /// The nodes that hold its slots.
    holders: Vec<usize>,
    /// Slots whose shares exist, and those that hostile nodes have held.
    existing: Vec<bool>,
    exposed: Vec<bool>,
    lost: bool,
    leaked: bool,
    unreadable_since: Option<Duration>,
}

impl Health {
    pub(super) fn new(fleet: &Fleet) -> Self {
        let group = |_| Group {
            holders: Vec::new(),
            existing: vec![false; fleet.n.into()],
            exposed: vec![false; fleet.n.into()],
            lost: false,
            leaked: false,
            unreadable_since: None,
        };
        let groups = (0..fleet.groups).map(group).collect();
        Self { groups, left: fleet.groups, losses: 0, leaks: 0 }
    }

    pub(super) fn is_lost(&self, group: GroupId) -> bool {
        self.groups[group.0 as usize].lost
    }

    /// Looks at the groups whose slots the newest block gave to others.
    pub(super) fn note_block<E>(&mut self, world: &World<E>, fleet: &Fleet, tally: &mut Tally) {
        // Of many machines the ledger makes groups more, in which nothing is.
        for (id, seats) in world.ledger.state().groups().take(self.groups.len()) {
            let places = seats.holders.iter().filter_map(|holder| world.place(&holder.node));
            let holders: Vec<usize> = places.collect();
            let group = &mut self.groups[id.0 as usize];
            if group.holders != holders {
                group.holders = holders;
                self.look_at(world, fleet, id, tally);
            }
        }
    }

    /// The shares of a group are others from here on: only who holds them now has seen any.
    pub(super) fn note_epoch<E>(
        &mut self,
        world: &World<E>,
        fleet: &Fleet,
        id: GroupId,
        tally: &mut Tally,
    ) {
        let Some(group) = self.groups.get_mut(id.0 as usize) else { return };
        if !group.lost && !group.leaked {
            tally.refreshes += 1;
        }
        group.exposed.fill(false);
        self.look_at(world, fleet, id, tally);
    }

    /// Looks at the groups of a node.
    pub(super) fn note_node<E>(
        &mut self,
        world: &World<E>,
        fleet: &Fleet,
        node: usize,
        tally: &mut Tally,
    ) {
        for group in 0..self.groups.len() {
            if self.groups[group].holders.contains(&node) {
                self.look_at(world, fleet, GroupId(group as u32), tally);
            }
        }
    }

    /// Counts the shares of a group, and says how many exist that did not before.
    ///
    /// A share exists if the machine that the ledger names has the part of every object: nobody asks
    /// another.
    pub(super) fn look_at<E>(
        &mut self,
        world: &World<E>,
        fleet: &Fleet,
        id: GroupId,
        tally: &mut Tally,
    ) -> u64 {
        let group = &mut self.groups[id.0 as usize];
        if group.lost {
            return 0;
        }
        let (mut existing, mut answering, mut restored) = (0, 0, 0);
        for (slot, &place) in Slot::all(fleet.n).zip(&group.holders) {
            let node = &world.nodes[place];
            let objects = world.network.objects_per_group as usize;
            let exists = !node.dead && node.disk.count(id, slot) >= objects;
            let before = std::mem::replace(&mut group.existing[slot.index()], exists);
            if !exists {
                continue;
            }
            existing += 1;
            restored += u64::from(!before);
            answering += u8::from(node.is_up(world.now));
            group.exposed[slot.index()] |= node.hostile;
        }
        let now = world.now.as_nanos() as Nanoseconds;
        if answering >= fleet.k || existing < fleet.k {
            tally.count_unreadable(readable_again(group, world.now));
        } else {
            group.unreadable_since.get_or_insert(world.now);
        }
        if existing < fleet.k {
            group.lost = true;
            self.left -= 1;
            self.losses += 1;
            tally.survived += u128::from(now);
            tally.count_loss(now, fleet.horizon);
        }
        let exposed = group.exposed.iter().filter(|exposed| **exposed).count();
        let leaks = fleet.attack.is_some_and(|attack| exposed >= attack.k_key.into());
        if leaks && !group.leaked {
            group.leaked = true;
            self.leaks += 1;
            tally.count_leak(now, fleet.horizon);
        }
        restored
    }

    /// The run is over.
    pub(super) fn finish(&mut self, fleet: &Fleet, tally: &mut Tally) {
        let end = Duration::from_nanos(fleet.horizon);
        for group in self.groups.iter_mut().filter(|group| !group.lost) {
            tally.count_unreadable(readable_again(group, end));
        }
        tally.survived += u128::from(self.left) * u128::from(fleet.horizon);
        tally.end_run(self.losses, self.leaks);
    }
}

/// Nanoseconds for which the group could not be read until now.
fn readable_again(group: &mut Group, now: Duration) -> Nanoseconds {
    group.unreadable_since.take().map_or(0, |since| (now - since).as_nanos() as Nanoseconds)
}

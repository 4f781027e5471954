//! Another future for the same past.

use super::together::{KNOWN, MISSING};
use super::{Phase, Run, class};
use crate::fleet::{Repair, RepairTime};
use crate::random::{Law, Purpose};
use crate::time::Nanoseconds;

impl<'a> Run<'a> {
    /// Copies of this run with other futures: what is under way is drawn again, given how long it has
    /// lasted, from the numbers of each replication. For fleets without pauses.
    pub(crate) fn futures(
        &self,
        replications: impl IntoIterator<Item = u64>,
    ) -> impl Iterator<Item = Self> {
        let wear: Vec<Vec<f64>> = (0..self.fleet.nodes).map(|node| self.wear(node)).collect();
        replications.into_iter().map(move |replication| {
            let mut copy = self.clone();
            copy.draw_future(replication, &wear);
            copy
        })
    }

    /// The wear of what a machine is doing, by each law that may end it.
    fn wear(&self, node: u32) -> Vec<f64> {
        match (self.phase[node as usize], self.repair_law()) {
            (Phase::Up, _) => {
                let age = self.now - self.born[node as usize];
                self.fleet.lives_of(node).iter().map(|law| law.wear(age)).collect()
            }
            (Phase::Repairing, Some(law)) => vec![law.wear(self.now - self.since[node as usize])],
            _ => Vec::new(),
        }
    }

    /// How long the repair of a machine takes, if it follows a law.
    fn repair_law(&self) -> Option<&'a Law> {
        match &self.fleet.repair {
            Repair::Each(RepairTime::Law(law)) | Repair::OneByOne(RepairTime::Law(law)) => {
                Some(law)
            }
            _ => None,
        }
    }

    fn draw_future(&mut self, replication: u64, wear: &[Vec<f64>]) {
        self.source = self.source.of_replication(replication);
        for node in 0..self.fleet.nodes {
            self.draw_node_future(node, &wear[node as usize]);
        }
        let Repair::Together { time, threshold } = &self.fleet.repair else { return };
        for share in 0..self.share.len() as u32 {
            if self.share[share as usize] & (MISSING | KNOWN) == MISSING {
                let number = self.notices[share as usize];
                let draw = self.source.draw(self.share_entity(share), Purpose::Detection, number);
                let age = self.now - self.lost_at[share as usize];
                let left = self.fleet.detection.residual(age, draw.uniform());
                self.schedule_after(self.share_entity(share), class::NOTICE, left);
            }
        }
        for group in 0..self.known.len() {
            if self.known[group] < *threshold {
                continue;
            }
            let entity = self.group_entity(group as u32);
            let draw = self.source.draw(entity, Purpose::Repair, self.group_repairs[group]);
            let left = time.residual(self.now - self.repair_began[group], draw.uniform());
            self.schedule_after(entity, class::REPAIRED, left);
        }
    }

    fn draw_node_future(&mut self, node: u32, wear: &[f64]) {
        let age = self.now - self.since[node as usize];
        let incarnation = self.incarnation[node as usize];
        match self.phase[node as usize] {
            Phase::Up => {
                let age = self.now - self.born[node as usize];
                let lives = self.fleet.lives_of(node);
                let life = self.life(node, |cause, uniform, bound| {
                    lives[cause].residual_of_worn(age, wear[cause], uniform).min(bound)
                });
                self.death[node as usize] = self.now.saturating_add(life);
                self.schedule_after(node, class::DEATH, life);
            }
            Phase::Unnoticed => {
                let draw = self.source.draw(node, Purpose::Detection, incarnation);
                let left = self.fleet.detection.residual(age, draw.uniform());
                self.schedule_after(node, class::NOTICE, left);
            }
            Phase::Repairing => {
                let Some(law) = self.repair_law() else { return };
                let number = self.repairs[node as usize];
                let draw = self.source.draw(node, Purpose::Repair, number);
                let left = law.residual_of_worn(age, wear[0], draw.uniform());
                self.filled[node as usize] = self.now.saturating_add(left);
                self.queue.schedule(node, class::REPAIRED, self.filled[node as usize]);
            }
            Phase::Queued | Phase::Away => {}
        }
    }

    fn schedule_after(&mut self, entity: u32, class: u8, span: Nanoseconds) {
        self.queue.schedule(entity, class, self.now.saturating_add(span));
    }
}

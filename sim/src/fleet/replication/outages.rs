//! What befalls many machines at once.

use super::{Run, class};
use crate::random::Purpose;

impl Run<'_> {
    pub(super) fn expect_outages(&mut self) {
        for zone in 0..self.out.len() as u32 {
            self.expect_outage(zone);
        }
        if let Some(loss) = self.fleet.mass_loss {
            self.queue.schedule(self.mass_loss_entity(), class::MASS_LOSS, loss.at);
        }
    }

    fn expect_outage(&mut self, zone: u32) {
        let Some(outages) = &self.fleet.outages else { return };
        let number = self.outages[zone as usize];
        let begins = self.after(&outages.interval, zone, Purpose::OutageInterval, number);
        self.queue.schedule(self.zone_entity(zone), class::OUTAGE, begins);
    }

    pub(super) fn outage_begins_or_ends(&mut self, zone: u32) {
        let Some(outages) = &self.fleet.outages else { return };
        let machines = (zone..self.fleet.nodes).step_by(self.fleet.zones as usize);
        if self.out[zone as usize] {
            self.out[zone as usize] = false;
            for node in machines {
                if self.is_up(node) {
                    self.go_online(node);
                }
            }
            return self.expect_outage(zone);
        }
        for node in machines {
            if self.is_up(node) {
                self.go_offline(node);
            }
        }
        self.out[zone as usize] = true;
        let number = self.outages[zone as usize];
        self.outages[zone as usize] += 1;
        let ends = self.after(&outages.length, zone, Purpose::OutageLength, number);
        self.queue.schedule(self.zone_entity(zone), class::OUTAGE, ends);
    }

    /// Whether a machine's zone is out: then it neither stops to answer nor begins.
    pub(super) fn is_out(&self, node: u32) -> bool {
        !self.out.is_empty() && self.out[(node % self.fleet.zones) as usize]
    }

    pub(super) fn lose_many(&mut self) {
        let Some(loss) = self.fleet.mass_loss else { return };
        for node in 0..self.fleet.nodes {
            let draw = self.source.draw(node, Purpose::MassLoss, 0);
            if self.has_content(node) && draw.uniform() < loss.share {
                self.die(node);
            }
        }
    }
}

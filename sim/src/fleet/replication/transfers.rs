//! Newcomers that share the uplink of their zone.

use super::Run;
use crate::fleet::{Fleet, Repair, RepairTime};
use crate::time::{Nanoseconds, SECOND};

/// Transfers under way; empty where nothing is shared.
#[derive(Clone, Debug, Default)]
pub(super) struct Transfers {
    zones: Vec<Zone>,
    /// Bytes that are still to come, by machine.
    left: Vec<f64>,
}

/// The newcomers of a zone, in the order in which they began.
#[derive(Clone, Debug, Default)]
struct Zone {
    newcomers: Vec<u32>,
    /// Up to when what has come is reckoned.
    reckoned: Nanoseconds,
}

impl Transfers {
    pub(super) fn new(fleet: &Fleet) -> Self {
        if shared(fleet).is_none() {
            return Self::default();
        }
        let zones = vec![Zone::default(); fleet.zones as usize];
        Self { zones, left: vec![0.0; fleet.nodes as usize] }
    }

    pub(super) fn clear(&mut self) {
        self.zones.fill(Zone::default());
    }
}

/// Bytes a second of a machine and of a zone.
fn shared(fleet: &Fleet) -> Option<[f64; 2]> {
    match &fleet.repair {
        Repair::Each(RepairTime::Shared { rate, uplink })
        | Repair::OneByOne(RepairTime::Shared { rate, uplink }) => Some([*rate, *uplink]),
        _ => None,
    }
}

impl Run<'_> {
    pub(super) fn begin_transfer(&mut self, node: u32) {
        self.reckon(node);
        self.transfers.left[node as usize] = self.bytes_to_fill(node) as f64;
        let zone = self.zone(node);
        self.transfers.zones[zone].newcomers.push(node);
        self.expect_ends(zone);
    }

    /// It is filled, or its repair is called off.
    pub(super) fn end_transfer(&mut self, node: u32) {
        if self.transfers.zones.is_empty() {
            return;
        }
        self.reckon(node);
        let zone = self.zone(node);
        self.transfers.zones[zone].newcomers.retain(|&newcomer| newcomer != node);
        self.expect_ends(zone);
    }

    fn zone(&self, node: u32) -> usize {
        (node % self.fleet.zones) as usize
    }

    /// Bytes a nanosecond of each newcomer of a zone, as many as there are now.
    fn speed(&self, zone: usize) -> f64 {
        let [rate, uplink] = shared(self.fleet).unwrap_or([1.0, 1.0]);
        let newcomers = self.transfers.zones[zone].newcomers.len().max(1);
        rate.min(uplink / newcomers as f64) / SECOND as f64
    }

    /// What has come to the newcomers of a machine's zone until now.
    fn reckon(&mut self, node: u32) {
        let zone = self.zone(node);
        let speed = self.speed(zone);
        let Transfers { zones, left } = &mut self.transfers;
        let come = speed * (self.now - zones[zone].reckoned) as f64;
        zones[zone].reckoned = self.now;
        for &newcomer in &zones[zone].newcomers {
            let left = &mut left[newcomer as usize];
            *left = (*left - come).max(0.0);
        }
    }

    /// All end at other times when one more or one less shares.
    fn expect_ends(&mut self, zone: usize) {
        let speed = self.speed(zone);
        for place in 0..self.transfers.zones[zone].newcomers.len() {
            let node = self.transfers.zones[zone].newcomers[place];
            let span = self.transfers.left[node as usize] / speed + 0.5;
            self.await_return(node, self.now.saturating_add(span as Nanoseconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::exact::{Binomial, CountLaw};
    use crate::fleet::tests::{hours, small_fleet};
    use crate::fleet::{Fleet, MassLoss, Repair, RepairTime, Tally, Traffic, simulate};
    use crate::time::HOUR;

    /// Any repair moves 36,000 bytes: ten hours at a byte a second.
    fn sharing(rate: f64) -> Fleet {
        Fleet {
            k: 1,
            repair: Repair::Each(RepairTime::Shared { rate, uplink: 1.0 }),
            traffic: Traffic { d: 1, repair_bytes: 36_000, decode_bytes: 36_000 },
            ..small_fleet()
        }
    }

    fn hours_of_a_repair(tally: &Tally) -> f64 {
        tally.repair_lasted as f64 / tally.replacements as f64 / HOUR as f64
    }

    /// Newcomers that begin together end together.
    #[test]
    fn an_uplink_is_divided_evenly() {
        let loss = MassLoss { at: 50 * HOUR, share: 0.5 };
        let fleet = Fleet { lives: vec![], mass_loss: Some(loss), ..sharing(10.0) };
        let lost = Binomial { n: 6, p: 0.5 };
        let sum = |power: i32| -> f64 {
            (1..6).map(|j| f64::from(j as u32).powi(power) * lost.probability(j)).sum()
        };
        let measured = hours_of_a_repair(&simulate(&fleet, 1, 0..4000));
        let expected = 10.0 * sum(2) / sum(1);
        assert!((measured / expected - 1.0).abs() < 0.02, "{measured} is not {expected}");
        // With a zone each, and slow machines, nobody waits for another.
        let apart = Fleet { zones: 6, ..fleet.clone() };
        assert!((hours_of_a_repair(&simulate(&apart, 1, 0..100)) - 10.0).abs() < 1e-6);
        let slow =
            Fleet { repair: Repair::Each(RepairTime::Shared { rate: 0.1, uplink: 1.0 }), ..fleet };
        assert!((hours_of_a_repair(&simulate(&slow, 1, 0..100)) - 100.0).abs() < 1e-6);
    }

    /// Machines that fail and share one repairer evenly are as many in repair as with exponential
    /// sizes of work: the stationary law depends on the mean only (Kelly, "Reversibility and
    /// Stochastic Networks", 1979, section 3.3). By Little's law that gives the length of a repair.
    #[test]
    fn repairs_last_as_with_a_processor_that_is_shared() {
        let lives = vec![hours(200.0)];
        let fleet = Fleet { nodes: 12, n: 12, lives, horizon: 4000 * HOUR, ..sharing(10.0) };
        // i of 12 in repair: weight 12! / (12 - i)! (10 h / 200 h)^i.
        let mut weights = vec![1.0];
        (0..12).for_each(|i| weights.push(weights[i] * (12 - i) as f64 * 10.0 / 200.0));
        let total: f64 = weights.iter().sum();
        let mean = weights.iter().enumerate().map(|(i, w)| i as f64 * w).sum::<f64>() / total;
        let expected = mean / ((12.0 - mean) / 200.0);
        let tally = simulate(&fleet, 1, 0..100);
        assert_eq!(tally.groups_lost, 0);
        let measured = hours_of_a_repair(&tally);
        assert!((measured / expected - 1.0).abs() < 0.03, "{measured} is not {expected}");
    }

    /// Who waits for the repairer is counted, too.
    #[test]
    fn queues_are_measured() {
        let work = RepairTime::BytesPerSecond(1.0);
        let loss = MassLoss { at: 50 * HOUR, share: 0.5 };
        let fleet = Fleet {
            lives: vec![],
            mass_loss: Some(loss),
            repair: Repair::OneByOne(work),
            ..sharing(1.0)
        };
        let tally = simulate(&fleet, 1, 0..4000);
        assert!((hours_of_a_repair(&tally) - 10.0).abs() < 1e-6);
        let lost = Binomial { n: 6, p: 0.5 };
        let sum = |of: fn(f64) -> f64| -> f64 {
            (1..6).map(|j| of(f64::from(j as u32)) * lost.probability(j)).sum()
        };
        // The i-th of j waits for i - 1 others.
        let expected = 10.0 * sum(|j| j * (j - 1.0) / 2.0) / sum(|j| j);
        let waited = tally.repair_waited as f64 / tally.replacements as f64 / HOUR as f64;
        assert!((waited / expected - 1.0).abs() < 0.03, "{waited} is not {expected}");
    }
}

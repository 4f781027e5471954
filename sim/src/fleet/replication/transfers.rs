//! Newcomers that share an uplink: that of their zone, or those of their helpers.

use super::{Phase, Run};
use crate::fleet::{Fleet, Repair, RepairTime};
use crate::time::{Nanoseconds, SECOND};

/// Transfers under way; empty where nothing is shared.
#[derive(Clone, Debug, Default)]
pub(super) struct Transfers {
    pools: Vec<Pool>,
    /// Bytes that are still to come, by machine.
    left: Vec<f64>,
    /// Machines that are up, and help.
    helping: u32,
}

/// The newcomers that share, those of a zone or all, in the order in which they began.
#[derive(Clone, Debug, Default)]
struct Pool {
    newcomers: Vec<u32>,
    /// Up to when what has come is reckoned.
    reckoned: Nanoseconds,
}

impl Transfers {
    pub(super) fn new(fleet: &Fleet) -> Self {
        let pools = match time_of_repairs(fleet) {
            Some(RepairTime::Shared { .. }) => fleet.zones,
            Some(RepairTime::Helped { .. }) => 1,
            _ => return Self::default(),
        };
        let pools = vec![Pool::default(); pools as usize];
        Self { pools, left: vec![0.0; fleet.nodes as usize], helping: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.pools.fill(Pool::default());
    }
}

/// Whether helpers share their uplinks among the repairs of a fleet.
pub(super) fn are_helped(fleet: &Fleet) -> bool {
    matches!(time_of_repairs(fleet), Some(RepairTime::Helped { .. }))
}

fn time_of_repairs(fleet: &Fleet) -> Option<&RepairTime> {
    match &fleet.repair {
        Repair::Each(time) | Repair::OneByOne(time) => Some(time),
        Repair::Together { .. } => None,
    }
}

impl Run<'_> {
    pub(super) fn begin_transfer(&mut self, node: u32) {
        self.reckon(node);
        self.transfers.left[node as usize] = self.bytes_to_fill(node) as f64;
        let pool = self.pool(node);
        self.transfers.pools[pool].newcomers.push(node);
        self.expect_ends(pool);
    }

    /// It is filled, or its repair is called off.
    pub(super) fn end_transfer(&mut self, node: u32) {
        if self.transfers.pools.is_empty() {
            return;
        }
        self.reckon(node);
        let pool = self.pool(node);
        self.transfers.pools[pool].newcomers.retain(|&newcomer| newcomer != node);
        self.expect_ends(pool);
    }

    /// At the start, all machines are up.
    pub(super) fn count_helpers(&mut self) {
        if self.helped {
            let helpers = (0..self.fleet.nodes).filter(|&node| !self.withholds(node));
            self.transfers.helping = helpers.count() as u32;
        }
    }

    /// A machine that was up is not any more, or the other way round.
    pub(super) fn helpers_change(&mut self, node: u32, phase: Phase) {
        if self.is_up(node) == (phase == Phase::Up) || self.withholds(node) {
            return;
        }
        self.reckon(node);
        match phase {
            Phase::Up => self.transfers.helping += 1,
            _ => self.transfers.helping -= 1,
        }
        self.expect_ends(self.pool(node));
    }

    fn pool(&self, node: u32) -> usize {
        match self.transfers.pools.len() {
            1 => 0,
            _ => (node % self.fleet.zones) as usize,
        }
    }

    /// Bytes a nanosecond of each newcomer of a pool, as many as there are now.
    fn speed(&self, pool: usize) -> f64 {
        let newcomers = self.transfers.pools[pool].newcomers.len().max(1) as f64;
        let speed = match time_of_repairs(self.fleet) {
            Some(RepairTime::Shared { rate, uplink }) => rate.min(uplink / newcomers),
            Some(RepairTime::Helped { rate, uplink }) => {
                let helpers = f64::from(self.transfers.helping) / newcomers;
                rate.min(uplink * helpers.min(self.fleet.traffic.d.into()))
            }
            _ => 1.0,
        };
        speed / SECOND as f64
    }

    /// What has come to the newcomers of a machine's pool until now.
    fn reckon(&mut self, node: u32) {
        let pool = self.pool(node);
        let speed = self.speed(pool);
        let Transfers { pools, left, .. } = &mut self.transfers;
        let come = speed * (self.now - pools[pool].reckoned) as f64;
        pools[pool].reckoned = self.now;
        for &newcomer in &pools[pool].newcomers {
            let left = &mut left[newcomer as usize];
            *left = (*left - come).max(0.0);
        }
    }

    /// All end at other times when one more or one less shares, or helps.
    fn expect_ends(&mut self, pool: usize) {
        let speed = self.speed(pool);
        for place in 0..self.transfers.pools[pool].newcomers.len() {
            let node = self.transfers.pools[pool].newcomers[place];
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

    /// All that died at once are filled at once, by those that are left: each of d = 2 helpers sends a
    /// byte a second, or less where there are more than half as many newcomers as helpers.
    #[test]
    fn helpers_share_their_uplinks() {
        let loss = MassLoss { at: 50 * HOUR, share: 0.4 };
        let helped = RepairTime::Helped { rate: 10.0, uplink: 1.0 };
        let traffic = Traffic { d: 2, repair_bytes: 36_000, decode_bytes: 18_000 };
        let repair = Repair::Each(helped);
        let fleet = Fleet { lives: vec![], mass_loss: Some(loss), repair, traffic, ..sharing(1.0) };
        let lost = Binomial { n: 6, p: 0.4 };
        // One that is left alone sends half of what it is asked for as symbols, and then all.
        let hours = |j: u32| match 6 - j {
            1 => 36_000.0 / 3600.0 / (1.0 / 5.0),
            left => 36_000.0 / 3600.0 / f64::from(left).min(2.0 * f64::from(j)) * f64::from(j),
        };
        let sum = |of: &dyn Fn(u32) -> f64| -> f64 {
            (1..6).map(|j| of(j) * f64::from(j) * lost.probability(j.into())).sum()
        };
        let measured = hours_of_a_repair(&simulate(&fleet, 1, 0..40_000));
        let expected = sum(&hours) / sum(&|_| 1.0);
        assert!((measured / expected - 1.0).abs() < 0.02, "{measured} is not {expected}");
    }

    /// A service that customers share evenly, and whose speed depends on their number, has a stationary
    /// law that depends on the mean of their work only (Kelly, as above).
    #[test]
    fn repairs_last_as_with_helpers_that_are_shared() {
        let lives = vec![hours(60.0)];
        let repair = Repair::Each(RepairTime::Helped { rate: 10.0, uplink: 1.0 });
        let fleet =
            Fleet { nodes: 12, n: 12, lives, repair, horizon: 4000 * HOUR, ..sharing(10.0) };
        // With d = 1, m of 12 in repair are served by min(m, 12 - m) helpers: a repair in ten hours each.
        let mut weights = vec![1.0];
        for m in 1..=11 {
            let up = 12.0 - f64::from(m);
            let served = f64::from(m).min(up) / 10.0;
            weights.push(weights[m as usize - 1] * (up + 1.0) / 60.0 / served);
        }
        let total: f64 = weights.iter().sum();
        let mean = weights.iter().enumerate().map(|(m, w)| m as f64 * w).sum::<f64>() / total;
        let expected = mean / ((12.0 - mean) / 60.0);
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

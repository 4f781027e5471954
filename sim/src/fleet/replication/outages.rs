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

    pub(super) fn expect_quorum_loss(&mut self) {
        let Some(losses) = &self.fleet.quorum_losses else { return };
        // Numbered after the zones, so that no draw is made twice.
        let (ledger, number) = (self.fleet.zones, self.quorum_losses);
        let span = losses.interval.draw(&self.source, ledger, Purpose::OutageInterval, number);
        let begins = self.quorum_back.saturating_add(span);
        self.queue.schedule(self.quorum_entity(), class::OUTAGE, begins);
    }

    pub(super) fn lose_quorum(&mut self) {
        let Some(losses) = &self.fleet.quorum_losses else { return };
        let (ledger, number) = (self.fleet.zones, self.quorum_losses);
        self.quorum_back = self.after(&losses.length, ledger, Purpose::OutageLength, number);
        self.quorum_losses += 1;
        self.expect_quorum_loss();
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

#[cfg(test)]
mod tests {
    use crate::estimate::Estimate;
    use crate::exact::{Binomial, CountLaw};
    use crate::fleet::tests::{hours, small_fleet};
    use crate::fleet::{Attack, Fleet, Hostile, Outages, Repair, RepairTime, simulate};
    use crate::random::Law;
    use crate::time::HOUR;

    /// Deaths come at any time: a tenth of them in a loss of ten hours, of which half is left.
    #[test]
    fn repairs_wait_for_the_quorum() {
        let length = Law::Fixed(10.0 * HOUR as f64);
        let losses = Outages { interval: hours(90.0), length };
        let repair = Repair::Each(RepairTime::Law(Law::Fixed(0.0)));
        let fleet = Fleet { k: 1, repair, quorum_losses: Some(losses), ..small_fleet() };
        let tally = simulate(&fleet, 1, 0..400);
        let waited = tally.repair_waited as f64 / tally.replacements as f64 / HOUR as f64;
        assert!((waited / 0.5 - 1.0).abs() < 0.06, "{waited}");
    }

    /// Without a quorum nothing is ever repaired: every machine must outlive the horizon by itself.
    #[test]
    fn without_a_quorum_nothing_is_repaired() {
        let never = Outages { interval: Law::Fixed(0.0), length: Law::Never };
        for repair in [small_fleet().repair, Repair::Together { time: hours(1.0), threshold: 1 }] {
            let losses = Some(never.clone());
            let fleet =
                Fleet { repair, quorum_losses: losses, horizon: 60 * HOUR, ..small_fleet() };
            let tally = simulate(&fleet, 1, 0..3000);
            let expected = Binomial { n: 6, p: f64::exp(-0.6) }.at_most(2);
            let estimate = Estimate::of_probability(tally.groups_lost, 3000, 0.999);
            assert!(estimate.holds(expected), "{expected} {estimate:?}");
            assert_eq!(tally.shares_repaired, 0);
        }
    }

    /// A slot is exposed unless its first holder and all newcomers are honest, of which in the year
    /// t the share is 1 - h - g t: probability (1 - h) exp(-rate (h T + g T^2 / 2)).
    #[test]
    fn an_attacker_that_grows_leaks_as_the_closed_form() {
        let (hostile, growth) = (0.05, 2.0);
        let attack = Attack {
            hostile: Hostile::Each(hostile),
            k_key: 4,
            d_key: 5,
            epoch: None,
            growth,
            withholds: false,
        };
        let repair = Repair::Each(RepairTime::Law(Law::Fixed(0.0)));
        let fleet = Fleet { attack: Some(attack), repair, horizon: 876 * HOUR, ..small_fleet() };
        let tally = simulate(&fleet, 1, 0..3000);
        // A tenth of a year, 87.6 lives a year.
        let exposure = 87.6 * (hostile * 0.1 + growth * 0.1 * 0.1 / 2.0);
        let honest = (1.0 - hostile) * f64::exp(-exposure);
        let expected = Binomial { n: 6, p: 1.0 - honest }.at_least(4);
        let estimate = Estimate::of_probability(tally.groups_leaked, 3000, 0.999);
        assert!(estimate.holds(expected) && (0.1..0.9).contains(&expected), "{expected}");
    }
}

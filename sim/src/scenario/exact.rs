//! The exact answer to a scenario, where there is one.

use serde::Serialize;
use thiserror::Error;

use super::Scenario;
use crate::exact::{ChainError, CountLaw, Hypergeometric, LeakModel, Redundancy, RepairRates};
use crate::fleet::{Corruption, Hostile, Repair, RepairTime};
use crate::random::Law;
use crate::time::YEAR;

/// What a chain says of one group of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExactAnswer {
    /// That the group is lost within the horizon.
    pub loss_probability: f64,
    /// The mean time from a full group to its loss, in years; `None` if it cannot be lost.
    pub mean_years_to_loss: Option<f64>,
    /// That its secret leaks within the horizon.
    pub leak: Option<Leak>,
}

/// What is known of a leak.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Leak {
    /// The probability.
    Exactly(f64),
    /// The probability if lost slots had new holders at once. While they have none, the attacker
    /// gains nothing.
    AtMost(f64),
}

/// Why a scenario has no exact answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotExact {
    /// A chain has no memory.
    #[error("{0} follows a law with memory; try: kakera sim run, or an exponential law")]
    Memory(&'static str),
    /// Pauses make states of the machines.
    #[error("machines pause; try: kakera sim run, or leave [pauses] out")]
    Pauses,
    /// Repairs of all groups wait together.
    #[error("the quorum is lost; try: kakera sim run, or leave [quorum_losses] out")]
    Quorum,
    /// Slots of a group differ.
    #[error("machines are of several kinds; try: kakera sim run, or no [[network.kinds]]")]
    Kinds,
    /// What is lost in two ways is found in two ways.
    #[error("shares decay on machines that die; try: kakera sim run, or lifetime = \"never\"")]
    Corruption,
    /// Machines of many groups go together.
    #[error("many machines go at once; try: kakera sim run, or leave [outages], [mass_loss] out")]
    Together,
    /// One repairer serves several groups.
    #[error("one repairer serves more machines than those of a group; try: kakera sim run")]
    SharedRepairer,
    /// What is there and what answers differ.
    #[error("hostile machines withhold; try: kakera sim run, or leave attacker.withholds out")]
    Withheld,
    /// The length of a repair depends on what it moves.
    #[error("the time of a repair follows from a rate; try: kakera sim run, or repair.time")]
    Rate,
}

impl Scenario {
    /// The exact answer for one group.
    pub fn exact(&self) -> Result<ExactAnswer, NotExact> {
        let fleet = &self.campaign.fleet;
        if fleet.outages.is_some() || fleet.mass_loss.is_some() {
            return Err(NotExact::Together);
        }
        if fleet.attack.is_some_and(|attack| attack.withholds) {
            return Err(NotExact::Withheld);
        }
        if fleet.quorum_losses.is_some() {
            return Err(NotExact::Quorum);
        }
        if !fleet.kinds.is_empty() {
            return Err(NotExact::Kinds);
        }
        if let Some(failure_rate) = self.replaced_at_once() {
            let leak = self.leak(failure_rate, true);
            return Ok(ExactAnswer { loss_probability: 0.0, mean_years_to_loss: None, leak });
        }
        let group = self.redundancy()?;
        // A share that decays is rebuilt where it was.
        let deaths = if fleet.corruption.is_some() { 0.0 } else { group.failure_rate };
        let horizon = self.campaign.fleet.horizon as f64;
        let mean = match group.mean_time_to_loss() {
            Ok(time) => Some(time / YEAR as f64),
            Err(ChainError::NeverLost) => None,
        };
        Ok(ExactAnswer {
            loss_probability: group.loss_probability(horizon),
            mean_years_to_loss: mean,
            leak: self.leak(deaths, deaths == 0.0),
        })
    }

    /// The rate at which machines are replaced, if none is ever missing: every lost share is known
    /// and back at once, and the rest can give it back.
    fn replaced_at_once(&self) -> Option<f64> {
        let fleet = &self.campaign.fleet;
        let at_once = Law::Fixed(0.0);
        let (Repair::Each(RepairTime::Law(time)) | Repair::OneByOne(RepairTime::Law(time))) =
            &fleet.repair
        else {
            return None;
        };
        let instant = *time == at_once && fleet.detection == at_once && fleet.n > fleet.k;
        let rates = fleet.lives.iter().map(Law::constant_rate);
        rates
            .sum::<Option<f64>>()
            .filter(|_| instant && fleet.absence.is_none() && fleet.corruption.is_none())
    }

    /// One group as a chain, in rates per nanosecond.
    pub fn redundancy(&self) -> Result<Redundancy, NotExact> {
        let fleet = &self.campaign.fleet;
        if fleet.absence.is_some() {
            return Err(NotExact::Pauses);
        }
        let rate = |law: &Law, what| law.constant_rate().ok_or(NotExact::Memory(what));
        let rates = fleet.lives.iter().map(|law| rate(law, "network.lifetime"));
        let failure_rate = rates.sum::<Result<f64, _>>()?;
        if let Some(corruption) = &fleet.corruption {
            if failure_rate > 0.0 {
                return Err(NotExact::Corruption);
            }
            return self.decaying(corruption);
        }
        let detection_rate = match &fleet.detection {
            Law::Fixed(span) if *span == 0.0 => f64::INFINITY,
            _ if fleet.patience.is_some() => return Err(NotExact::Memory("repair.patience")),
            law => rate(law, "repair.detection")?,
        };
        let repair_rate = |time: &RepairTime| match time {
            RepairTime::Law(law) => rate(law, "repair.time"),
            _ => Err(NotExact::Rate),
        };
        let repair = match &fleet.repair {
            Repair::Each(time) => RepairRates::Each { rate: repair_rate(time)?, detection_rate },
            Repair::OneByOne(_) if fleet.nodes != u32::from(fleet.n) => {
                return Err(NotExact::SharedRepairer);
            }
            Repair::OneByOne(_) if detection_rate.is_finite() => {
                return Err(NotExact::Memory("the queue behind repair.detection"));
            }
            Repair::OneByOne(time) => RepairRates::OneByOne { rate: repair_rate(time)? },
            Repair::Together { time, threshold } => RepairRates::Together {
                rate: rate(time, "repair.time")?,
                threshold: (*threshold).into(),
                detection_rate,
            },
        };
        Ok(Redundancy { n: fleet.n.into(), k: fleet.k.into(), failure_rate, repair })
    }

    /// A group on machines that never die, of which single shares decay.
    fn decaying(&self, corruption: &Corruption) -> Result<Redundancy, NotExact> {
        let fleet = &self.campaign.fleet;
        let rate = |law: &Law, what| law.constant_rate().ok_or(NotExact::Memory(what));
        let found = rate(&corruption.found, "corruption.found")?;
        let repair = match &fleet.repair {
            Repair::Together { time, threshold } => RepairRates::Together {
                rate: rate(time, "repair.time")?,
                threshold: (*threshold).into(),
                detection_rate: found,
            },
            _ => RepairRates::Each { rate: found, detection_rate: f64::INFINITY },
        };
        let failure_rate = corruption.share_mean.recip();
        Ok(Redundancy { n: fleet.n.into(), k: fleet.k.into(), failure_rate, repair })
    }

    /// `exact` if lost slots are never without a holder.
    fn leak(&self, replacement_rate: f64, exact: bool) -> Option<Leak> {
        let horizon = self.campaign.fleet.horizon as f64;
        let fleet = &self.campaign.fleet;
        let attack = fleet.attack.filter(|attack| attack.growth == 0.0)?;
        let hostile = match attack.hostile {
            Hostile::Each(share) => share,
            Hostile::Exactly(marked) if replacement_rate == 0.0 => {
                let law = Hypergeometric {
                    population: fleet.nodes.into(),
                    marked: marked.into(),
                    drawn: fleet.n.into(),
                };
                return Some(Leak::Exactly(law.at_least(attack.k_key.into())));
            }
            Hostile::Exactly(_) => return None,
        };
        let model =
            LeakModel { n: fleet.n.into(), k: attack.k_key.into(), hostile, replacement_rate };
        let probability = match attack.epoch {
            None => model.without_refresh(horizon),
            Some(epoch) => model.with_refresh(horizon, epoch as f64),
        };
        Some(if exact { Leak::Exactly(probability) } else { Leak::AtMost(probability) })
    }
}

impl Leak {
    /// The number itself.
    pub fn probability(self) -> f64 {
        match self {
            Self::Exactly(probability) | Self::AtMost(probability) => probability,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::super::tests::CLINICS;
    use super::*;
    use crate::campaign::Campaign;
    use crate::time::DAY;

    fn scenario(changes: &[(&str, &str)]) -> Scenario {
        let text = changes.iter().fold(CLINICS.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        Scenario::parse(&text).unwrap()
    }

    /// Both rungs of the ladder on one scenario.
    #[test]
    fn exact_and_simulated_answers_meet() {
        let scenario = scenario(&[
            ("nodes = 25", "nodes = 20"),
            ("groups = 3", "groups = 1"),
            ("\"4y\"", "\"40d\""),
            ("{ fixed = \"1h\" }", "{ exponential = \"2d\" }"),
            ("\"12h\"", "\"10d\""),
            ("\"10%\"", "\"20%\""),
            ("replications = 500", "replications = 1500"),
        ]);
        let exact = scenario.exact().unwrap();
        let campaign: &Campaign = &scenario.campaign;
        let summary = campaign.summary(&campaign.run(), 0.999);
        assert!(summary.loss_of_any.holds(exact.loss_probability), "{exact:?} {summary:?}");
        assert!(summary.loss_of_any.value > 0.01);
        let leak = exact.leak.unwrap();
        assert!(matches!(leak, Leak::AtMost(_)));
        assert!(summary.leak_of_any.interval[0] <= leak.probability());
    }

    #[test]
    fn says_why_there_is_no_exact_answer() {
        assert_eq!(scenario(&[]).exact(), Err(NotExact::Memory("repair.detection")));
        let exponential = ("{ fixed = \"1h\" }", "{ exponential = \"1h\" }");
        assert!(scenario(&[exponential]).exact().is_ok());
        let serial = ("[repair]", "[repair]\nmode = \"one-by-one\"");
        assert_eq!(scenario(&[exponential, serial]).exact(), Err(NotExact::SharedRepairer));
        let rate = ("time = { exponential = \"12h\" }", "rate = \"1MB/s\"");
        assert_eq!(scenario(&[exponential, rate]).exact(), Err(NotExact::Rate));
    }

    /// The fourth thing that had to be shown: a leak by accumulation, with and without refresh.
    #[test]
    fn machines_replaced_at_once_leak_by_accumulation() {
        let leak = |refresh| {
            let scenario = scenario(&[
                ("\"4y\"", "\"30d\""),
                ("{ fixed = \"1h\" }", "{ fixed = \"0s\" }"),
                ("{ exponential = \"12h\" }", "{ fixed = \"0s\" }"),
                ("\"30d\"\n[run]", refresh),
            ]);
            scenario.exact().unwrap().leak.unwrap()
        };
        let Leak::Exactly(never) = leak("\"never\"\n[run]") else { panic!("not exact") };
        let Leak::Exactly(monthly) = leak("\"30d\"\n[run]") else { panic!("not exact") };
        assert!((never - 0.993_288).abs() < 1e-6 && (monthly - 1.5865e-2).abs() < 1e-6);
    }

    #[test]
    fn machines_that_never_die_leak_as_a_static_draw() {
        let still = scenario(&[
            ("{ exponential = \"4y\" }", "\"never\""),
            ("{ fixed = \"1h\" }", "{ exponential = \"1h\" }"),
            ("hostile = \"10%\"", "machines = 8"),
        ]);
        let answer = still.exact().unwrap();
        let law = Hypergeometric { population: 25, marked: 8, drawn: 20 };
        assert_eq!(answer.leak, Some(Leak::Exactly(law.at_least(10))));
        assert_eq!((answer.loss_probability, answer.mean_years_to_loss), (0.0, None));
        assert_eq!(still.campaign.fleet.attack.unwrap().epoch, Some(30 * DAY));
    }
}

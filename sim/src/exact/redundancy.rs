//! Chains of one group of n slots of which any k give the object back.

use super::{Chain, ChainError};

/// A group whose machines fail without memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Redundancy {
    /// Slots.
    pub n: u32,
    /// Slots that give the object back; with fewer it is lost. 1 <= k <= n.
    pub k: u32,
    /// Failures of one machine, per unit of time.
    pub failure_rate: f64,
    /// How lost slots come back.
    pub repair: RepairRates,
}

/// How lost slots come back, in rates per unit of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RepairRates {
    /// Every lost slot has a repair of its own (`par`), once it is known to be lost.
    Each {
        /// Of one repair.
        rate: f64,
        /// At which one lost slot becomes known; infinite if at once.
        detection_rate: f64,
    },
    /// One slot is repaired at a time (`ser`).
    OneByOne {
        /// Of one repair.
        rate: f64,
    },
    /// While at least `threshold` slots are known to be lost, one repair is under way, and it brings
    /// all of them back, the unknown ones too.
    Together {
        /// Of the repair.
        rate: f64,
        /// At least 1.
        threshold: u32,
        /// At which one lost slot becomes known; infinite if at once.
        detection_rate: f64,
    },
}

impl Redundancy {
    /// The mean time from a full group to the loss.
    pub fn mean_time_to_loss(&self) -> Result<f64, ChainError> {
        self.chain().mean_time_to_loss()
    }

    /// The probability that a full group is lost within `time`.
    pub fn loss_probability(&self, time: f64) -> f64 {
        self.chain().loss_probability(time)
    }

    /// The chain: state 0 is the full group.
    pub fn chain(&self) -> Chain {
        match self.repair {
            RepairRates::Each { rate, detection_rate } if detection_rate.is_infinite() => {
                self.birth_and_death(|lost| f64::from(lost) * rate)
            }
            RepairRates::Each { rate, detection_rate } => self
                .with_detection(detection_rate, |lost, known| {
                    (known > 0).then(|| (f64::from(known) * rate, (lost - 1, known - 1)))
                }),
            RepairRates::OneByOne { rate } => self.birth_and_death(|_| rate),
            RepairRates::Together { rate, threshold, detection_rate }
                if detection_rate.is_infinite() =>
            {
                self.restored_at_once(rate, threshold)
            }
            RepairRates::Together { rate, threshold, detection_rate } => self
                .with_detection(detection_rate, |_, known| {
                    (known >= threshold).then_some((rate, (0, 0)))
                }),
        }
    }

    /// How many slots are lost in a state of the chain; one more than can be spared for the loss.
    pub fn lost_slots(&self, state: usize) -> u32 {
        match self.repair {
            RepairRates::Together { detection_rate, .. }
            | RepairRates::Each { detection_rate, .. }
                if detection_rate.is_finite() =>
            {
                // The states of so many lost slots begin at the triangular number of it.
                (0..).find(|&lost| detection_state(lost + 1, 0) > state).unwrap_or(0)
            }
            _ => state as u32,
        }
    }

    /// Losses that the group survives.
    fn spare(&self) -> u32 {
        self.n - self.k
    }

    fn fail_rate(&self, lost: u32) -> f64 {
        f64::from(self.n - lost) * self.failure_rate
    }

    fn birth_and_death(&self, repair_rate: impl Fn(u32) -> f64) -> Chain {
        let mut chain = Chain::new(self.spare() as usize + 1);
        for lost in 0..=self.spare() {
            let state = lost as usize;
            chain.add(state, state + 1, self.fail_rate(lost));
            if lost > 0 {
                chain.add(state, state - 1, repair_rate(lost));
            }
        }
        chain
    }

    fn restored_at_once(&self, rate: f64, threshold: u32) -> Chain {
        let mut chain = Chain::new(self.spare() as usize + 1);
        for lost in 0..=self.spare() {
            let state = lost as usize;
            chain.add(state, state + 1, self.fail_rate(lost));
            if lost >= threshold {
                chain.add(state, 0, rate);
            }
        }
        chain
    }

    /// State (lost, known), known <= lost, in the order of lost, then known. `repair` gives the rate
    /// of a repair and where it leads.
    fn with_detection(
        &self,
        detection_rate: f64,
        repair: impl Fn(u32, u32) -> Option<(f64, (u32, u32))>,
    ) -> Chain {
        let state = detection_state;
        let mut chain = Chain::new(state(self.spare() + 1, 0));
        for lost in 0..=self.spare() {
            for known in 0..=lost {
                let here = state(lost, known);
                let failed =
                    if lost < self.spare() { state(lost + 1, known) } else { chain.loss() };
                chain.add(here, failed, self.fail_rate(lost));
                if known < lost {
                    let rate = f64::from(lost - known) * detection_rate;
                    chain.add(here, state(lost, known + 1), rate);
                }
                if let Some((rate, (lost, known))) = repair(lost, known) {
                    chain.add(here, state(lost, known), rate);
                }
            }
        }
        chain
    }
}

fn detection_state(lost: u32, known: u32) -> usize {
    (lost * (lost + 1) / 2 + known) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::exact::{Binomial, CountLaw};

    fn group(repair: RepairRates) -> Redundancy {
        Redundancy { n: 9, k: 4, failure_rate: 0.3, repair }
    }

    #[test]
    fn without_repair_it_is_a_binomial() {
        for repair in [
            RepairRates::Each { rate: 0.0, detection_rate: f64::INFINITY },
            RepairRates::Each { rate: 0.0, detection_rate: 2.0 },
            RepairRates::OneByOne { rate: 0.0 },
            RepairRates::Together { rate: 0.0, threshold: 2, detection_rate: 1.0 },
        ] {
            let lost = group(repair).loss_probability(0.7);
            let alive = Binomial { n: 9, p: (-0.3f64 * 0.7).exp() };
            assert!((lost / alive.at_most(3) - 1.0).abs() < 1e-12);
            let mean: f64 = (4..=9).map(|alive| 1.0 / (0.3 * f64::from(alive))).sum();
            assert!((group(repair).mean_time_to_loss().unwrap() / mean - 1.0).abs() < 1e-14);
        }
    }

    #[test]
    fn states_know_their_losses() {
        let lazy = RepairRates::Together { rate: 1.0, threshold: 2, detection_rate: 1.0 };
        let lost = |repair| [0, 1, 2, 3, 5, 6].map(|state| group(repair).lost_slots(state));
        assert_eq!(lost(lazy), [0, 1, 1, 2, 2, 3]);
        assert_eq!(lost(RepairRates::OneByOne { rate: 1.0 }), [0, 1, 2, 3, 5, 6]);
    }

    #[test]
    fn instant_detection_is_the_limit_of_fast_detection() {
        let lazy =
            |detection_rate| RepairRates::Together { rate: 5.0, threshold: 3, detection_rate };
        let each = |detection_rate| RepairRates::Each { rate: 5.0, detection_rate };
        for repair in [&lazy as &dyn Fn(f64) -> RepairRates, &each] {
            let time = |detection_rate| group(repair(detection_rate)).mean_time_to_loss().unwrap();
            assert!((time(1e9) / time(f64::INFINITY) - 1.0).abs() < 1e-6);
            assert!(time(1.0) < time(10.0));
        }
    }
}

//! Candidates, and what becomes of each.

use std::collections::BTreeMap;
use std::fmt;

use kakera_engine::code::{CodeKind, CodeParameters};
use serde::{Serialize, Serializer};

use super::Network;
use crate::exact::{Binomial, CountLaw, LeakModel, Redundancy, RepairRates};
use crate::scenario::code_costs;
use crate::time::{DAY, YEAR};

const DAYS: f64 = DAY as f64 / YEAR as f64;
/// Groups larger than this are no easier to run, and cost more connections.
const SLOTS_MAX: u32 = 60;
/// Slots of a group, where the network has so many machines.
const SLOTS: [u32; 12] = [3, 4, 5, 7, 10, 14, 20, 24, 30, 40, 50, 60];
/// Refreshes.
const EPOCHS: [Option<f64>; 4] = [Some(7.0 * DAYS), Some(30.0 * DAYS), Some(90.0 * DAYS), None];
/// Repair delays beyond detection, in years.
const DELAYS: [f64; 4] = [0.0, 0.5 * DAYS, DAYS, 3.0 * DAYS];

/// Parameters to choose. Spans are in years.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// The data code.
    #[serde(serialize_with = "as_text")]
    pub code: CodeParameters,
    /// Key shares that give the key.
    pub k_key: u32,
    /// From one refresh to the next.
    pub epoch: Option<f64>,
    /// How long a silent machine is waited for.
    pub delay: f64,
    /// Missing slots that begin a repair.
    pub threshold: u32,
}

/// What a candidate gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// That any group is lost in a year.
    pub loss_a_year: f64,
    /// That the secret of any group leaks in a year.
    pub leak_a_year: f64,
    /// Share of the time in which a group cannot be read.
    pub unavailability: f64,
    /// Bytes that a machine sends for repairs in a month.
    pub repair_bytes: f64,
    /// Bytes stored, a byte of objects.
    pub storage_factor: f64,
}

/// A candidate with its outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Design {
    /// What it is best at among those found, if anything.
    pub names: Vec<&'static str>,
    /// The parameters.
    pub candidate: Candidate,
    /// What they give.
    pub outcome: Outcome,
}

/// Every candidate of a network.
pub(super) fn all(network: &Network) -> Vec<Candidate> {
    let most = network.nodes.min(SLOTS_MAX);
    let mut slots: Vec<u32> = SLOTS.into_iter().filter(|&n| n < most).collect();
    slots.push(most);
    let mut candidates = Vec::new();
    for n in slots {
        let codes = codes(n);
        for k_key in key_thresholds(n) {
            for code in codes.iter().filter(|code| u32::from(code.k) <= k_key + 2) {
                for threshold in thresholds(n - u32::from(code.k).max(k_key)) {
                    for delay in DELAYS {
                        for epoch in EPOCHS {
                            let code = *code;
                            candidates.push(Candidate { code, k_key, epoch, delay, threshold });
                        }
                    }
                }
            }
        }
    }
    candidates
}

/// Codes that exist, of all families.
fn codes(n: u32) -> Vec<CodeParameters> {
    let mut codes = Vec::new();
    for tenths in [2, 3, 4, 5, 6, 7, 8] {
        let k = (n * tenths / 10).max(2);
        let helpers = [k, (n + k) / 2, n - 1];
        let of = |kind, d| CodeParameters { kind, n: n as u8, k: k as u8, d: d as u8 };
        codes.push(of(CodeKind::Rs, k));
        codes.push(of(CodeKind::Clay, n - 1));
        for d in helpers {
            codes.push(of(CodeKind::Mbr, d));
            codes.push(of(CodeKind::Msr, d));
        }
    }
    codes.retain(|code| code.check().is_ok());
    codes.sort();
    codes.dedup();
    codes
}

fn key_thresholds(n: u32) -> Vec<u32> {
    let mut thresholds: Vec<u32> =
        [3, 4, 5, 6, 7].map(|tenths| (n * tenths).div_ceil(10).max(2)).to_vec();
    thresholds.retain(|&k| k < n);
    thresholds.dedup();
    thresholds
}

/// How long repair may wait of so many slots that can be spared.
fn thresholds(spare: u32) -> Vec<u32> {
    let mut thresholds = vec![1, spare / 4, spare / 2];
    thresholds.retain(|&threshold| threshold >= 1);
    thresholds.dedup();
    thresholds
}

impl Candidate {
    /// Slots without which a group is lost.
    fn needed(&self) -> u32 {
        u32::from(self.code.k).max(self.k_key)
    }

    /// Machines that die, and such that are taken for dead, a machine and year.
    pub(super) fn replacement_rate(&self, network: &Network) -> f64 {
        network.lifetime.recip() + self.false_repair_rate(network)
    }

    /// Times away begin every absence / (1 - uptime), and last longer than the delay with
    /// exp(-delay / absence).
    fn false_repair_rate(&self, network: &Network) -> f64 {
        let waited = network.detection + self.delay;
        (1.0 - network.uptime) / network.absence * (-waited / network.absence).exp()
    }

    /// Years that filling a newcomer takes, for its share of one group.
    pub(super) fn transfer_years(&self, network: &Network) -> f64 {
        let moved = code_costs(&self.code).moved * network.bytes / f64::from(network.groups);
        let seconds = (moved / network.bandwidth).max(1.0);
        seconds * crate::time::SECOND as f64 / YEAR as f64
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, k_key, threshold, .. } = self;
        let days = |years: f64| format!("{:.1} d", years / DAYS);
        let epoch = self.epoch.map_or("never".into(), days);
        write!(
            formatter,
            "{code}, key threshold {k_key}, refresh {epoch}, repair from {threshold} missing after {}",
            days(self.delay)
        )
    }
}

/// Evaluates candidates; what several share is computed once.
pub(super) struct Evaluation<'a> {
    network: &'a Network,
    losses: BTreeMap<[u64; 4], f64>,
    leaks: BTreeMap<[u64; 4], f64>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(network: &'a Network) -> Self {
        Self { network, losses: BTreeMap::new(), leaks: BTreeMap::new() }
    }

    pub(super) fn design(&mut self, candidate: Candidate) -> Design {
        let network = self.network;
        let groups = f64::from(network.groups);
        let costs = code_costs(&candidate.code);
        let slots = f64::from(candidate.code.n);
        let lost_slots = candidate.replacement_rate(network) * slots / 12.0;
        let outcome = Outcome {
            loss_a_year: (groups * self.loss(&candidate)).min(1.0),
            leak_a_year: (groups * self.leak(&candidate)).min(1.0),
            unavailability: unavailability(network, &candidate),
            repair_bytes: network.bytes * costs.moved * lost_slots / f64::from(network.nodes),
            storage_factor: slots * costs.stored,
        };
        Design { names: Vec::new(), candidate, outcome }
    }

    fn loss(&mut self, candidate: &Candidate) -> f64 {
        let network = self.network;
        let (n, k) = (u32::from(candidate.code.n), candidate.needed());
        let wait = network.detection + candidate.delay + candidate.transfer_years(network);
        let threshold = candidate.threshold;
        let failure_rate = candidate.replacement_rate(network);
        let key = [
            u64::from(n) << 32 | u64::from(k),
            threshold.into(),
            wait.to_bits(),
            failure_rate.to_bits(),
        ];
        *self.losses.entry(key).or_insert_with(|| {
            let (rate, detection_rate) = (wait.recip(), f64::INFINITY);
            let repair = match threshold {
                1 => RepairRates::Each { rate, detection_rate },
                threshold => RepairRates::Together { rate, threshold, detection_rate },
            };
            Redundancy { n, k, failure_rate, repair }.loss_probability(1.0)
        })
    }

    fn leak(&mut self, candidate: &Candidate) -> f64 {
        let (n, k) = (u32::from(candidate.code.n), candidate.k_key);
        let (hostile, replacement_rate) =
            (self.network.hostile, candidate.replacement_rate(self.network));
        let epoch = candidate.epoch;
        let key = [
            u64::from(n) << 32 | u64::from(k),
            epoch.unwrap_or(0.0).to_bits(),
            replacement_rate.to_bits(),
            0,
        ];
        *self.leaks.entry(key).or_insert_with(|| {
            let model = LeakModel { n, k, hostile, replacement_rate };
            match epoch {
                None => model.without_refresh(1.0),
                Some(epoch) => model.with_refresh(1.0, epoch),
            }
        })
    }
}

/// Fewer slots are up than are needed, with as many missing as repair waits for.
fn unavailability(network: &Network, candidate: &Candidate) -> f64 {
    let present = u64::from(candidate.code.n) - u64::from(candidate.threshold - 1);
    let needed = u64::from(candidate.needed());
    Binomial { n: present, p: network.uptime }.at_most(needed - 1)
}

fn as_text<S: Serializer>(code: &CodeParameters, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(code)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::super::tests::CLINICS;
    use super::*;

    #[test]
    fn candidates_are_many_and_sound() {
        let network = Network::parse(CLINICS).unwrap();
        let candidates = all(&network);
        assert!(candidates.len() > 1000, "{}", candidates.len());
        for candidate in &candidates {
            assert!(candidate.code.check().is_ok() && u32::from(candidate.code.n) <= 21);
            assert!(candidate.needed() < candidate.code.n.into());
            assert!(candidate.threshold <= u32::from(candidate.code.n) - candidate.needed());
        }
    }

    #[test]
    fn outcomes_move_as_they_should() {
        let network = Network::parse(CLINICS).unwrap();
        let mut evaluation = Evaluation::new(&network);
        let mut outcome = |change: fn(&mut Candidate)| {
            let mut candidate = Candidate {
                code: "mbr(20,8,14)".parse().unwrap(),
                k_key: 10,
                epoch: Some(30.0 * DAYS),
                delay: DAYS,
                threshold: 1,
            };
            change(&mut candidate);
            evaluation.design(candidate).outcome
        };
        let base = outcome(|_| {});
        assert!(outcome(|c| c.epoch = None).leak_a_year > base.leak_a_year);
        assert!(outcome(|c| c.k_key = 12).leak_a_year < base.leak_a_year);
        assert!(outcome(|c| c.k_key = 12).unavailability > base.unavailability);
        assert!(outcome(|c| c.threshold = 4).unavailability > base.unavailability);
        assert!(outcome(|c| c.delay = 3.0 * DAYS).repair_bytes < base.repair_bytes);
        let rs = outcome(|c| c.code = "rs(20,8,8)".parse().unwrap());
        assert!(rs.storage_factor < base.storage_factor && rs.repair_bytes > base.repair_bytes);
    }
}

//! Importance sampling of Markov chains by balanced failure biasing, one cycle at a time.
//!
//! A cycle begins in state 0, the full group, and ends there or at the loss. Where one jump may
//! raise the level and another lower it, the first kind gets a larger share of the two, and all its
//! jumps are equally likely (failure biasing: Lewis, Boehm 1984; balanced: Shahabuddin, "Importance
//! sampling for the simulation of highly reliable Markovian systems", Management Science 40 (1994)).
//! Jumps that keep the level, as a loss that becomes known, are then as likely as before, so that they
//! add nothing to the spread of weights. Where none lowers the level, those that raise it get a small
//! share at least: a second loss before the first is known is rare, and much of the risk. A cycle that ends in a loss counts with its likelihood ratio,
//! which starts at 1 in every cycle and is never clipped.

use std::cmp::Ordering;

use serde::Serialize;

use crate::estimate::Estimate;
use crate::exact::Chain;
use crate::random::{Purpose, Source};

/// What jumps to a higher level get of the share that they have with those to a lower one.
const RAISING_SHARE: f64 = 0.7;

/// What they get at least where no jump lowers the level.
const UNCONTESTED_SHARE: f64 = 0.2;

/// Batches of an estimate.
const BATCHES: u64 = 40;

/// A chain whose states have levels: the loss lies above, and jumps to a higher level lead there.
#[derive(Clone, Debug)]
pub struct ImportanceSampling {
    jumps: Vec<State>,
    loss: usize,
}

/// The ways out of a state.
#[derive(Clone, Debug)]
struct State {
    leaving_rate: f64,
    ways: Vec<Way>,
}

#[derive(Clone, Copy, Debug)]
struct Way {
    to: usize,
    /// In the chain.
    probability: f64,
    /// When biased.
    biased: f64,
}

/// An estimate from weighted losses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Weighted {
    /// The estimate and its interval.
    pub estimate: Estimate,
    /// Cycles that ended in a loss.
    pub losses: u64,
    /// The number of unweighted losses that would be worth as much: (sum w)^2 / (sum w^2).
    pub effective_losses: f64,
    /// What the largest weight contributes to the sum.
    pub largest_share: f64,
}

/// The weights of losses.
#[derive(Clone, Copy, Debug, Default)]
struct Weights {
    count: u64,
    sum: f64,
    squares: f64,
    largest: f64,
}

impl ImportanceSampling {
    /// `level` gives the level of every state and of the loss.
    pub fn new(chain: &Chain, level: impl Fn(usize) -> u32) -> Self {
        let jumps = (0..chain.loss()).map(|from| State::new(chain, from, &level)).collect();
        Self { jumps, loss: chain.loss() }
    }

    /// The mean time to the loss: the mean length of a cycle, simulated as it is, over the
    /// probability that a cycle ends in a loss, simulated with bias. `cycles` of each.
    pub fn mean_time_to_loss(&self, seed: u64, cycles: u64, confidence: f64) -> Option<Weighted> {
        let mut weights = Weights::default();
        let per_batch = cycles.div_ceil(BATCHES);
        let pairs: Vec<[f64; 2]> = (0..BATCHES)
            .map(|batch| {
                let mut pair = [0.0; 2];
                for number in batch * per_batch..(batch + 1) * per_batch {
                    let mut draws = Draws::new(seed, number);
                    pair[0] += self.cycle_length(&mut draws);
                    let weight = self.biased_cycle(&mut draws, f64::INFINITY);
                    weights.add(weight);
                    pair[1] += weight;
                }
                pair
            })
            .collect();
        weights.weighted(Estimate::of_ratio(&pairs, confidence)?)
    }

    /// The probability of a loss within `time`: the path of the chain tells when cycles begin, and
    /// each of them is also run with bias for as long as time is left. `paths` of such.
    pub fn loss_probability(
        &self,
        time: f64,
        seed: u64,
        paths: u64,
        confidence: f64,
    ) -> Option<Weighted> {
        let mut weights = Weights::default();
        let per_batch = paths.div_ceil(BATCHES);
        let means: Vec<f64> = (0..BATCHES)
            .map(|batch| {
                let numbers = batch * per_batch..(batch + 1) * per_batch;
                let sum: f64 =
                    numbers.map(|number| self.path(time, seed, number, &mut weights)).sum();
                sum / per_batch as f64
            })
            .collect();
        weights.weighted(Estimate::of_mean(&means, confidence)?)
    }

    /// The expected losses of the cycles that begin on one path, summed.
    fn path(&self, time: f64, seed: u64, number: u64, weights: &mut Weights) -> f64 {
        let mut draws = Draws::new(seed, number);
        let (mut now, mut state, mut sum) = (0.0, 0, 0.0);
        loop {
            if state == 0 {
                let weight = self.biased_cycle(&mut draws, time - now);
                weights.add(weight);
                sum += weight;
            }
            let (way, held) = self.jumps[state].jump(&mut draws, false);
            now += held;
            if now >= time || way.to == self.loss {
                return sum;
            }
            state = way.to;
        }
    }

    /// The length of an unbiased cycle, with the mean time of every visit instead of a drawn one.
    fn cycle_length(&self, draws: &mut Draws) -> f64 {
        let (mut length, mut state) = (0.0, 0);
        loop {
            length += self.jumps[state].leaving_rate.recip();
            state = self.jumps[state].jump(draws, false).0.to;
            if state == 0 || state == self.loss {
                return length;
            }
        }
    }

    /// The likelihood ratio of a biased cycle if it ends in a loss within `time`, else zero.
    fn biased_cycle(&self, draws: &mut Draws, time: f64) -> f64 {
        let (mut now, mut state, mut ratio) = (0.0, 0, 1.0);
        loop {
            let (way, held) = self.jumps[state].jump(draws, true);
            now += held;
            ratio *= way.probability / way.biased;
            if now >= time {
                return 0.0;
            }
            match way.to {
                0 => return 0.0,
                to if to == self.loss => return ratio,
                to => state = to,
            }
        }
    }
}

impl State {
    fn new(chain: &Chain, from: usize, level: &impl Fn(usize) -> u32) -> Self {
        let rates: Vec<(usize, f64)> = chain.ways(from).collect();
        let total = |order: Ordering| -> f64 {
            let ways = rates.iter().filter(|(to, _)| level(*to).cmp(&level(from)) == order);
            ways.map(|(_, rate)| rate).sum()
        };
        let (raising, lowering) = (total(Ordering::Greater), total(Ordering::Less));
        let raising_ways = rates.iter().filter(|(to, _)| level(*to) > level(from)).count();
        let keeping = total(Ordering::Equal);
        let leaving_rate = raising + lowering + keeping;
        // The jumps that pay for those that raise the level, and what they pay.
        let (payer, paying, share) = match lowering > 0.0 {
            true => (Ordering::Less, lowering, RAISING_SHARE),
            false => (Ordering::Equal, keeping, UNCONTESTED_SHARE),
        };
        let contested = raising + paying;
        let bias = paying > 0.0 && raising > 0.0 && raising < share * contested;
        let biased_rate = |to: usize, rate: f64| match level(to).cmp(&level(from)) {
            Ordering::Greater if bias => share * contested / raising_ways as f64,
            order if bias && order == payer => (1.0 - share) * contested * rate / paying,
            _ => rate,
        };
        let way = |&(to, rate): &(usize, f64)| Way {
            to,
            probability: rate / leaving_rate,
            biased: biased_rate(to, rate) / leaving_rate,
        };
        Self { leaving_rate, ways: rates.iter().map(way).collect() }
    }

    /// A way out and the time until it is taken.
    fn jump(&self, draws: &mut Draws, biased: bool) -> (Way, f64) {
        let (mut point, time) = draws.next();
        let held = -time.ln() / self.leaving_rate;
        for way in &self.ways {
            point -= if biased { way.biased } else { way.probability };
            if point < 0.0 {
                return (*way, held);
            }
        }
        // Rounding left nothing for the last way.
        (self.ways[self.ways.len() - 1], held)
    }
}

/// The draws of one path.
struct Draws {
    source: Source,
    next: u32,
}

impl Draws {
    fn new(seed: u64, number: u64) -> Self {
        Self { source: Source::new(seed, number), next: 0 }
    }

    fn next(&mut self) -> (f64, f64) {
        self.next += 1;
        let draw = self.source.draw(0, Purpose::Jump, self.next);
        (draw.uniform(), draw.second_uniform())
    }
}

impl Weights {
    fn add(&mut self, weight: f64) {
        self.count += u64::from(weight > 0.0);
        self.sum += weight;
        self.squares += weight * weight;
        self.largest = self.largest.max(weight);
    }

    /// `None` if no cycle was lost.
    fn weighted(&self, estimate: Estimate) -> Option<Weighted> {
        (self.count > 0).then(|| Weighted {
            estimate,
            losses: self.count,
            effective_losses: self.sum * self.sum / self.squares,
            largest_share: self.largest / self.sum,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::exact::{Redundancy, RepairRates};

    fn group(n: u32, k: u32, repair_rate: f64) -> Redundancy {
        Redundancy {
            n,
            k,
            failure_rate: 1.0,
            repair: RepairRates::Each { rate: repair_rate, detection_rate: f64::INFINITY },
        }
    }

    /// From 1e-2 to below 1e-15 in one go.
    #[test]
    fn agrees_with_the_chain_over_many_decades() {
        let mut range: (f64, f64) = (1.0, 0.0);
        for (spare, repair) in
            [(1, 100.0), (2, 100.0), (2, 1e3), (3, 1e3), (4, 1e3), (4, 1e4), (5, 1e4)]
        {
            let group = group(8, 8 - spare, repair);
            let chain = group.chain();
            let sampling = ImportanceSampling::new(&chain, |state| state as u32);

            let mean = sampling.mean_time_to_loss(1, 8000, 0.999).unwrap();
            let exact = group.mean_time_to_loss().unwrap();
            assert!(mean.estimate.holds(exact), "{exact:e} is not in {mean:?}");
            assert!(mean.estimate.relative_half_width() < 0.3, "{mean:?}");

            let within = sampling.loss_probability(1.0, 1, 3000, 0.999).unwrap();
            let exact = group.loss_probability(1.0);
            assert!(within.estimate.holds(exact), "{exact:e} is not in {within:?}");
            assert!(within.effective_losses > 100.0 && within.largest_share < 0.1, "{within:?}");
            range = (range.0.min(exact), range.1.max(exact));
        }
        assert!(range.1 / range.0 > 1e12, "{range:?}");
    }

    /// 200 seeds of one small run; `cargo xtask sim-coverage` takes 1000 longer ones.
    #[test]
    fn intervals_cover_what_they_say() {
        let group = group(6, 4, 300.0);
        let chain = group.chain();
        let sampling = ImportanceSampling::new(&chain, |state| state as u32);
        let exact = group.mean_time_to_loss().unwrap();
        let covered = (0..200)
            .filter(|&seed| {
                sampling.mean_time_to_loss(seed, 2000, 0.95).unwrap().estimate.holds(exact)
            })
            .count();
        assert!((180..=199).contains(&covered), "{covered}");
    }
}

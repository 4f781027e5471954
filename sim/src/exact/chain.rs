//! Continuous-time Markov chains with one absorbing state.

use thiserror::Error;

use super::{CountLaw, Poisson};

/// Jumps up to which a distribution is followed jump by jump; beyond, the matrix is squared, unless
/// it is so large that jumps are still faster.
const JUMPS_MAX: u64 = 50_000;
const SQUARED_STATES_MAX: usize = 256;

/// The probability of a loss in one jump, given none before, has settled once it changes by less than
/// this share while the jumps grow by half.
const SETTLED: f64 = 1e-12;

/// States 0 to `len` - 1, a start in state 0, and an absorbing state beyond them: the loss.
#[derive(Clone, Debug)]
pub struct Chain {
    len: usize,
    /// Row i holds the rates from state i to the others, and to the loss in its last column. The
    /// diagonal stays zero.
    rates: Vec<f64>,
}

/// Questions that a chain cannot answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ChainError {
    /// No path leads from the start to a loss.
    #[error("a loss cannot happen: no sequence of events leads to it")]
    NeverLost,
}

impl Chain {
    /// A chain of `len` >= 1 states without any transition.
    pub fn new(len: usize) -> Self {
        Self { len, rates: vec![0.0; len * (len + 1)] }
    }

    /// The number of the absorbing state.
    pub fn loss(&self) -> usize {
        self.len
    }

    /// Adds to the rate from one state to another or to the loss; loops are left out.
    pub fn add(&mut self, from: usize, to: usize, rate: f64) {
        if from != to {
            self.rates[from * (self.len + 1) + to] += rate;
        }
    }

    /// The states that can follow a state, the loss included, with their rates.
    pub fn ways(&self, from: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.row(from).iter().copied().enumerate().filter(|&(_, rate)| rate > 0.0)
    }

    fn row(&self, from: usize) -> &[f64] {
        &self.rates[from * (self.len + 1)..(from + 1) * (self.len + 1)]
    }

    /// The mean time from the start to the loss. Error some eps times the number of states.
    ///
    /// States are eliminated from the last on, with divisors that are sums of rates (Grassmann,
    /// Taksar, Heyman, Operations Research 33 (1985)).
    pub fn mean_time_to_loss(&self) -> Result<f64, ChainError> {
        let width = self.len + 1;
        let mut rates = self.rates.clone();
        // Mean time spent in a state and in those eliminated after it, times its rate of leaving.
        let mut time = vec![1.0; self.len];
        for last in (1..self.len).rev() {
            let left = |to: usize| to < last || to == self.len;
            let leaving: f64 =
                (0..width).filter(|&to| left(to)).map(|to| rates[last * width + to]).sum();
            for from in 0..last {
                let entering = rates[from * width + last];
                if entering == 0.0 {
                    continue;
                }
                if leaving == 0.0 {
                    return Err(ChainError::NeverLost);
                }
                let share = entering / leaving;
                time[from] += share * time[last];
                for to in (0..last).chain([self.len]).filter(|&to| to != from) {
                    rates[from * width + to] += share * rates[last * width + to];
                }
            }
        }
        match rates[self.len] {
            0.0 => Err(ChainError::NeverLost),
            rate => Ok(time[0] / rate),
        }
    }

    /// The probability that the loss comes within `time`, from the start.
    pub fn loss_probability(&self, time: f64) -> f64 {
        let fastest = (0..self.len).map(|i| self.row(i).iter().sum()).fold(0.0, f64::max);
        if fastest * time <= 0.0 {
            return 0.0;
        }
        self.loss_by_jumps(time, fastest).unwrap_or_else(|| self.loss_by_squaring(time, fastest))
    }

    /// Uniformisation (Jensen 1953): the chain jumps at the times of a Poisson process of the
    /// fastest rate, and where it would leave more slowly, it mostly stays. `None` if it takes too
    /// many jumps.
    ///
    /// Before a loss the chain forgets its start (quasi-stationary distribution: Darroch, Seneta,
    /// Journal of Applied Probability 4 (1967)). From then on every jump loses the same share.
    fn loss_by_jumps(&self, time: f64, fastest: f64) -> Option<f64> {
        let jumps = Poisson { mean: fastest * time };
        // Fewer jumps have a weight below 1e-20, and lose less than more jumps do.
        let first = (jumps.mean - 9.5 * jumps.mean.sqrt() - 30.0).max(0.0) as u64;
        let mut walk = Walk::new(self, fastest);
        let mut answer = 0.0;
        for count in 1u64.. {
            walk.jump();
            if walk.settled && count < first {
                return Some(walk.lost_after(jumps.mean - count as f64, jumps.mean));
            }
            if count < first {
                if count >= JUMPS_MAX && self.len <= SQUARED_STATES_MAX {
                    return None;
                }
                continue;
            }
            let weight = jumps.probability(count);
            answer += weight * walk.lost();
            // What is left out is below the tail's weight, which falls faster than geometrically.
            let ratio = jumps.mean / (count + 1) as f64;
            let beyond = ratio < 1.0 && count > self.len as u64;
            if beyond && weight * ratio / (1.0 - ratio) <= 1e-17 * answer {
                break;
            }
        }
        Some(answer.min(1.0))
    }

    /// Squares the matrix of so short a step that two jumps in one do not matter. Off-diagonal
    /// entries are sums of positive terms throughout, and the diagonal is what they leave: each
    /// matrix is stochastic, with small relative errors off its diagonal, and so are its powers.
    fn loss_by_squaring(&self, time: f64, fastest: f64) -> f64 {
        let width = self.len + 1;
        let jumps = fastest * time;
        let doublings = (2.0 * jumps.log2() + 44.0).ceil() as i32;
        let step = time / f64::from(doublings).exp2();
        let mut moves: Vec<f64> = self.rates.iter().map(|rate| rate * step).collect();
        let mut squared = vec![0.0; moves.len()];
        for _ in 0..doublings {
            for from in 0..self.len {
                let row = &moves[from * width..(from + 1) * width];
                let target = &mut squared[from * width..(from + 1) * width];
                let stay = 1.0 - row.iter().sum::<f64>();
                target.iter_mut().zip(row).for_each(|(target, moved)| *target = stay * moved);
                // From the loss there is no way back: its part of the step before stays lost.
                target[self.len] += row[self.len];
                for (via, &moved) in row[..self.len].iter().enumerate() {
                    if moved == 0.0 {
                        continue;
                    }
                    let onward = &moves[via * width..(via + 1) * width];
                    let stay_there = 1.0 - onward.iter().sum::<f64>();
                    target[via] += moved * stay_there;
                    for (target, &onward) in target.iter_mut().zip(onward) {
                        *target += moved * onward;
                    }
                }
                target[from] = 0.0;
            }
            std::mem::swap(&mut moves, &mut squared);
        }
        moves[self.len].min(1.0)
    }
}

/// The distribution of a chain that jumps at even times.
struct Walk {
    /// By state, the loss last.
    now: Vec<f64>,
    next: Vec<f64>,
    stay: Vec<f64>,
    /// (from, to, probability); the ways to the loss among them.
    steps: Vec<(u32, u32, f64)>,
    jumps: u64,
    /// Whether every further jump loses the same share of what is left.
    settled: bool,
    /// That share in the last jump, and at the last check.
    share: f64,
    checked: (u64, f64),
}

impl Walk {
    fn new(chain: &Chain, fastest: f64) -> Self {
        let rate = |i| chain.row(i).iter().sum::<f64>();
        let way = |from: usize| {
            chain.ways(from).map(move |(to, rate)| (from as u32, to as u32, rate / fastest))
        };
        let mut now = vec![0.0; chain.len + 1];
        now[0] = 1.0;
        Self {
            next: now.clone(),
            now,
            stay: (0..chain.len).map(|i| 1.0 - rate(i) / fastest).chain([1.0]).collect(),
            steps: (0..chain.len).flat_map(way).collect(),
            jumps: 0,
            settled: false,
            share: 0.0,
            checked: (4 * chain.len as u64, 0.0),
        }
    }

    fn lost(&self) -> f64 {
        self.now[self.now.len() - 1]
    }

    fn jump(&mut self) {
        let loss = self.now.len() - 1;
        self.jumps += 1;
        if self.settled {
            self.now[loss] += (1.0 - self.now[loss]) * self.share;
            return;
        }
        let stayed = self.now.iter().zip(&self.stay).map(|(p, stay)| p * stay);
        self.next.iter_mut().zip(stayed).for_each(|(next, stayed)| *next = stayed);
        // Kept apart, since it is small beside what is lost already.
        self.next[loss] = 0.0;
        for &(from, to, probability) in &self.steps {
            self.next[to as usize] += self.now[from as usize] * probability;
        }
        self.share = self.next[loss] / (1.0 - self.now[loss]);
        self.next[loss] += self.now[loss];
        std::mem::swap(&mut self.now, &mut self.next);
        let (checked, share) = self.checked;
        if self.jumps >= checked + checked / 2 {
            self.settled = self.share > 0.0 && (share / self.share - 1.0).abs() < SETTLED;
            self.checked = (self.jumps, self.share);
        }
    }

    /// What is lost after a Poisson number of jumps with this mean, `more` of them still to come in
    /// the mean, all of one share q: 1 - (1 - lost) E[(1 - q)^(N - jumps)].
    fn lost_after(&self, more: f64, mean: f64) -> f64 {
        let kept = (-self.share).ln_1p();
        // E[(1 - q)^N] = exp(-q mean), written so that nothing cancels when q is small.
        let surplus = -self.share - kept;
        -((-self.lost()).ln_1p() + kept * more + surplus * mean).exp_m1()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_close(value: f64, expected: f64, relative: f64) {
        assert!((value / expected - 1.0).abs() < relative, "{value:e} is not {expected:e}");
    }

    /// Two machines, one repairer: the textbook case with a closed form.
    fn mirror(fail: f64, repair: f64) -> Chain {
        let mut chain = Chain::new(2);
        chain.add(0, 1, 2.0 * fail);
        chain.add(1, 0, repair);
        chain.add(1, chain.loss(), fail);
        chain
    }

    /// 1 - P(no loss) from the roots of the mirror's characteristic polynomial; good while the
    /// probability is not small.
    fn mirror_loss(fail: f64, repair: f64, time: f64) -> f64 {
        let sum = 3.0 * fail + repair;
        let root = (sum * sum - 8.0 * fail * fail).sqrt();
        let (slow, fast) = (4.0 * fail * fail / (sum + root), (sum + root) / 2.0);
        1.0 - (fast * (-slow * time).exp() - slow * (-fast * time).exp()) / (fast - slow)
    }

    #[test]
    fn mirror_agrees_with_its_closed_form() {
        for ratio in [1.0, 10.0, 1e3, 1e9] {
            let mean = mirror(1.0, ratio).mean_time_to_loss().unwrap();
            assert_close(mean, (3.0 + ratio) / 2.0, 1e-14);
        }
        for time in [0.1, 1.0, 10.0] {
            let chain = mirror(1.0, 10.0);
            assert_close(chain.loss_probability(time), mirror_loss(1.0, 10.0, time), 1e-12);
        }
        // 2e9 jumps, of which some are followed.
        let chain = mirror(1.0, 1e5);
        assert_close(chain.loss_probability(2e4), mirror_loss(1.0, 1e5, 2e4), 1e-10);
    }

    #[test]
    fn jumps_and_squaring_agree_down_to_the_smallest_losses() {
        for states in [2, 5, 9] {
            for repair in [1.0, 1e2, 1e3] {
                let mut chain = Chain::new(states);
                for i in 0..states {
                    chain.add(i, i + 1, (20 - i) as f64 * 0.01);
                    if i > 0 {
                        chain.add(i, i - 1, repair * i as f64);
                    }
                }
                let fastest = repair * states as f64 + 1.0;
                // Jumps that never settle, some that do, and mostly those after.
                for time in [0.02, 5.0, 500.0] {
                    let by_jumps = chain.loss_by_jumps(time, fastest).unwrap();
                    assert_close(chain.loss_by_squaring(time, fastest), by_jumps, 1e-10);
                }
            }
        }
    }

    /// A slow way back: the loss goes on getting more likely for long, and the jumps are followed.
    #[test]
    fn slow_chains_settle_late() {
        for slow in [1e-5, 1e-4, 1e-3] {
            let mut chain = Chain::new(3);
            chain.add(0, 1, 1e-3);
            chain.add(1, 0, 1.0);
            chain.add(1, 2, 1e-4);
            chain.add(2, 1, slow);
            chain.add(2, 3, 1e-7);
            for time in [1e3, 1e5, 1e7] {
                let squared = chain.loss_by_squaring(time, 1.0001);
                assert_close(chain.loss_probability(time), squared, 1e-10);
            }
        }
    }

    #[test]
    fn a_chain_without_a_way_to_the_loss_says_so() {
        let mut chain = Chain::new(3);
        chain.add(0, 1, 1.0);
        chain.add(1, 2, 1.0);
        chain.add(2, 0, 1.0);
        assert_eq!(chain.mean_time_to_loss(), Err(ChainError::NeverLost));
        assert_eq!(chain.loss_probability(10.0), 0.0);
        chain.add(2, 2, 5.0);
        chain.add(2, chain.loss(), 1.0);
        // 0 to 2 takes 2; at 2 half of all are lost after 1/2, the others begin again.
        assert_close(chain.mean_time_to_loss().unwrap(), 5.0, 1e-14);
    }

    fn determinant([a, b, c]: [[f64; 3]; 3]) -> f64 {
        a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
            + a[2] * (b[0] * c[1] - b[1] * c[0])
    }

    proptest! {
        /// Against the equations of the mean times themselves, where solving them is accurate.
        #[test]
        fn mean_time_equals_the_solution_of_its_equations(rates in prop::array::uniform12(0.1f64..3.0)) {
            let mut chain = Chain::new(3);
            for (number, &rate) in rates[..9].iter().enumerate() {
                let (from, to) = (number / 3, number % 3);
                chain.add(from, to, rate);
            }
            for from in 0..3 {
                chain.add(from, 3, rates[9 + from]);
            }
            let entry = |from: usize, to: usize| match from == to {
                true => chain.row(from).iter().sum::<f64>(),
                false => -chain.row(from)[to],
            };
            let columns = [0, 1, 2].map(|to| [0, 1, 2].map(|from| entry(from, to)));
            // Cramer's rule, with ones on the right.
            let x = determinant([[1.0; 3], columns[1], columns[2]]) / determinant(columns);
            assert_close(chain.mean_time_to_loss().unwrap(), x, 1e-10);
        }
    }
}

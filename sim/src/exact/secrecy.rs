//! How an attacker's shares add up while repair moves slots from machine to machine.

use super::{Binomial, CountLaw};

/// A group under an attacker who keeps every share that one of its machines ever held.
///
/// A share that is repaired is the same share in another place, so that within an epoch the
/// attacker's slots only grow; a refresh makes old shares worthless. The secret leaks when the
/// attacker has held `k` distinct slots in one epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeakModel {
    /// Slots.
    pub n: u32,
    /// Shares that give the secret.
    pub k: u32,
    /// The share of machines, old and new, that the attacker owns.
    pub hostile: f64,
    /// How often the machine of one slot is replaced, per unit of time.
    pub replacement_rate: f64,
}

impl LeakModel {
    /// The probability of a leak within `time` if shares are never refreshed: a binomial over slots
    /// that were ever hostile.
    pub fn without_refresh(&self, time: f64) -> f64 {
        let p = 1.0 - (1.0 - self.hostile) * self.never_hostile(time);
        Binomial { n: self.n.into(), p }.at_least(self.k.into())
    }

    /// The probability of a leak within `time` with a refresh every `epoch`, exactly: a chain over
    /// the number of hostile holders at a refresh, since they stay in the next epoch.
    pub fn with_refresh(&self, time: f64, epoch: f64) -> f64 {
        let whole = (time / epoch).floor();
        let rest = time - whole * epoch;
        let slots = self.n as usize;
        let mut hostile: Vec<f64> = (0..=slots)
            .map(|h| Binomial { n: self.n.into(), p: self.hostile }.probability(h as u64))
            .collect();
        let mut leaked = 0.0;
        let step = self.epoch_step(epoch);
        for _ in 0..whole as u64 {
            let (next, leaks) = advance(&hostile, &step);
            hostile = next;
            leaked += leaks;
        }
        if rest > 0.0 {
            leaked += advance(&hostile, &self.epoch_step(rest)).1;
        }
        leaked
    }

    /// Epochs that begin with fresh holders each, summed: the usual estimate. It counts again in
    /// every epoch the holders that stay, and an object that leaks twice.
    pub fn epochs_summed(&self, time: f64, epoch: f64) -> f64 {
        self.without_refresh(epoch) * time / epoch
    }

    fn never_hostile(&self, time: f64) -> f64 {
        (-self.replacement_rate * self.hostile * time).exp()
    }

    /// For h hostile holders at the begin of an epoch of this length: the probabilities of h' at its
    /// end without a leak, and last of a leak.
    fn epoch_step(&self, length: f64) -> Vec<Vec<f64>> {
        let slots = self.n as usize;
        let stayed = (-self.replacement_rate * length).exp();
        let untouched = self.never_hostile(length);
        let ends_hostile = (1.0 - stayed) * self.hostile;
        // Of a slot with an honest holder at first: [never hostile, hostile and honest again, hostile].
        let honest = [untouched, 1.0 - ends_hostile - untouched, ends_hostile];
        // Of one with a hostile holder.
        let hostile_end = stayed + ends_hostile;
        let limit = self.k as usize;
        (0..=slots)
            .map(|h| {
                // exposed[e][end]: slots exposed, of them hostile at the end; e = k is a leak.
                let mut exposed = vec![vec![0.0; slots + 2]; limit + 1];
                exposed[0][0] = 1.0;
                for slot in 0..slots {
                    let [clean, cleaned, hostile] =
                        if slot < h { [0.0, 1.0 - hostile_end, hostile_end] } else { honest };
                    let mut next = vec![vec![0.0; slots + 2]; limit + 1];
                    for (e, row) in exposed.iter().enumerate() {
                        let more = (e + 1).min(limit);
                        for (end, &p) in row[..=slot].iter().enumerate() {
                            next[e][end] += p * clean;
                            next[more][end] += p * cleaned;
                            next[more][end + 1] += p * hostile;
                        }
                    }
                    exposed = next;
                }
                let leak: f64 = exposed[limit].iter().sum();
                let kept = |end: usize| exposed[..limit].iter().map(|row| row[end]).sum();
                (0..=slots).map(kept).chain([leak]).collect()
            })
            .collect()
    }
}

fn advance(hostile: &[f64], step: &[Vec<f64>]) -> (Vec<f64>, f64) {
    let mut next = vec![0.0; hostile.len() + 1];
    for (p, row) in hostile.iter().zip(step) {
        next.iter_mut().zip(row).for_each(|(next, moved)| *next += p * moved);
    }
    let leaked = next.pop().unwrap_or_default();
    (next, leaked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAYS_30: LeakModel =
        LeakModel { n: 20, k: 10, hostile: 0.1, replacement_rate: 1.0 / 30.0 };

    fn assert_close(value: f64, expected: f64, relative: f64) {
        assert!((value / expected - 1.0).abs() < relative, "{value:e} is not {expected:e}");
    }

    #[test]
    fn one_epoch_is_no_refresh() {
        for days in [1.0, 30.0, 365.0] {
            let chain = DAYS_30.with_refresh(days, 1e9);
            assert_close(chain, DAYS_30.without_refresh(days), 1e-12);
            assert_close(DAYS_30.with_refresh(days, days), chain, 1e-12);
        }
    }

    #[test]
    fn nobody_replaced_is_the_static_case_in_every_epoch() {
        let still = LeakModel { replacement_rate: 0.0, ..DAYS_30 };
        let leak = Binomial { n: 20, p: 0.1 }.at_least(10);
        assert_close(still.with_refresh(365.0, 30.0), leak, 1e-12);
        assert_close(still.without_refresh(365.0), leak, 1e-12);
    }

    /// Epochs much longer than lives forget their beginning, so they are nearly independent.
    #[test]
    fn long_epochs_are_nearly_independent() {
        let model = LeakModel { n: 6, k: 5, hostile: 0.02, replacement_rate: 1.0 };
        let one = model.without_refresh(40.0);
        let exact = model.with_refresh(400.0, 40.0);
        assert_close(exact, 1.0 - (1.0 - one).powi(10), 0.01);
    }

    #[test]
    fn the_usual_estimate_is_above_the_exact_answer() {
        let (sum, exact) = (DAYS_30.epochs_summed(365.0, 30.0), DAYS_30.with_refresh(365.0, 30.0));
        assert!(exact < sum && exact > 0.5 * sum, "{exact:e} of {sum:e}");
    }
}

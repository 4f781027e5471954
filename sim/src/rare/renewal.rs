//! When the share of a place is missing: a machine lives, is missed for a while, another lives, and so
//! on (an alternating renewal process; Cox, "Renewal Theory", 1962, §7).

use crate::fleet::Fleet;
use crate::random::Law;

/// Deaths of one place and whether its share is missing, at the multiples of a step.
///
/// Spans are rounded to the step's multiples, up or down so that their mean stays (Gerber, "On the
/// numerical evaluation of the distribution of aggregate claims", Insurance: Mathematics and Economics
/// 1 (1982)). Of smooth laws the error goes with the square of the step.
pub(super) struct Renewal {
    /// Nanoseconds.
    pub(super) step: f64,
    /// Deaths expected around each multiple.
    pub(super) deaths: Vec<f64>,
    /// The probability that the share is missing at each multiple; more than 0 and less than 1.
    pub(super) missing: Vec<f64>,
}

impl Renewal {
    /// From the start to the fleet's horizon, of its machines of no kind.
    pub(super) fn new(fleet: &Fleet, repair: &Law, steps: usize) -> Self {
        let step = fleet.horizon as f64 / steps as f64;
        let survival = |time| fleet.lives.iter().map(|law| law.survival(time)).product();
        let life = masses(steps, step, survival);
        let detection = masses(steps, step, |time| fleet.detection.survival(time));
        let repair = masses(steps, step, |time| repair.survival(time));
        let (births, deaths) = births_and_deaths(&life, &convolution(&detection, &repair));
        // What is around a multiple is half before it.
        let mut gone = 1.0; // the birth at the start
        let missing = births.iter().zip(&deaths).map(|(birth, death)| {
            let half = (death - birth) / 2.0;
            gone += 2.0 * half;
            (gone - half).clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON)
        });
        let mut missing: Vec<f64> = missing.collect();
        missing[0] = f64::MIN_POSITIVE;
        Self { step, deaths, missing }
    }
}

/// The probabilities of the multiples 0 to `steps` of a step, of a span with this survival function.
fn masses(steps: usize, step: f64, survival: impl Fn(f64) -> f64) -> Vec<f64> {
    // The mean of the survival function over a cell, by Gauss's rule of three points.
    let far = 0.6f64.sqrt() / 2.0;
    let mean = |cell: usize| {
        let at = |place: f64| survival((cell as f64 + place) * step);
        (5.0 * at(0.5 - far) + 8.0 * at(0.5) + 5.0 * at(0.5 + far)) / 18.0
    };
    let mut before = 1.0;
    let falls = (0..=steps).map(|cell| {
        let after = mean(cell);
        std::mem::replace(&mut before, after) - after
    });
    falls.collect()
}

/// The law of the sum of two spans, as far as both tables go.
fn convolution(first: &[f64], second: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; second.len()];
    for (shift, &share) in first.iter().enumerate().filter(|(_, share)| **share != 0.0) {
        for (sum, &other) in sums[shift..].iter_mut().zip(second) {
            *sum += share * other;
        }
    }
    sums
}

/// Births and deaths expected around each multiple: a birth at the start, a death a life after each
/// birth, and a birth a gap after each death.
fn births_and_deaths(life: &[f64], gap: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let reversed = |masses: &[f64]| masses.iter().rev().copied().collect::<Vec<f64>>();
    let (life_reversed, gap_reversed) = (reversed(life), reversed(gap));
    let steps = life.len() - 1;
    let mut births = Vec::with_capacity(life.len());
    let mut deaths = Vec::with_capacity(life.len());
    for now in 0..life.len() {
        let died = dot(&births, &life_reversed[steps - now..steps]);
        let start = if now == 0 { 1.0 } else { 0.0 };
        let born = start + dot(&deaths, &gap_reversed[steps - now..steps]);
        // Those who are born now and die within less than half a step, and so on.
        let birth = (born + gap[0] * died) / (1.0 - gap[0] * life[0]);
        births.push(birth);
        deaths.push(died + life[0] * birth);
    }
    (births, deaths)
}

/// In lanes, as fast as they are added up.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::estimate::Estimate;
    use crate::fleet::Run;
    use crate::random::Source;
    use crate::rare::crossings::tests::one_group;
    use crate::time::HOUR;

    const HOURS: f64 = HOUR as f64;

    /// (λ / (λ + μ)) (1 - exp(-(λ + μ) t)) without memory.
    #[test]
    fn missing_shares_are_those_of_the_two_state_chain() {
        let life = Law::Exponential { mean: 100.0 * HOURS };
        let repair = Law::Exponential { mean: 10.0 * HOURS };
        let fleet = one_group(6, 3, life, repair.clone());
        let renewal = Renewal::new(&fleet, &repair, 1 << 11);
        for (place, &missing) in renewal.missing.iter().enumerate().skip(1).step_by(100) {
            let hours = place as f64 * renewal.step / HOURS;
            let exact = (1.0 - (-0.11 * hours).exp()) / 11.0;
            assert!((missing / exact - 1.0).abs() < 2e-3, "{hours}: {missing} {exact}");
        }
        // The integral of λ (1 - missing) over 100 h.
        let exact = 0.01 * (100.0 * 10.0 / 11.0 + (1.0 - (-11.0f64).exp()) / 11.0 / 0.11);
        let deaths: f64 = renewal.deaths.iter().sum();
        assert!((deaths / exact - 1.0).abs() < 1e-3, "{deaths} {exact}");
    }

    /// Of laws with memory and jumps, against counting of single machines.
    #[test]
    fn missing_shares_are_those_that_are_counted() {
        let life = Law::Weibull { shape: 0.7, scale: 50.0 * HOURS, location: 3.0 * HOURS };
        let repair = Law::Fixed(7.0 * HOURS);
        // A group that is never lost, so that no run ends before its horizon.
        let mut fleet = one_group(2, 0, life, repair.clone());
        fleet.lives.push(Law::LogNormal { median: 60.0 * HOURS, sigma: 1.5 });
        fleet.detection = Law::Uniform { longest: 24.0 * HOURS };
        let renewal = Renewal::new(&fleet, &repair, 1 << 10);
        let runs = 2000;
        for place in [100, 300, 1000] {
            let fleet = Fleet { horizon: (place as f64 * renewal.step) as u64, ..fleet.clone() };
            let missing = |run| {
                let mut run = Run::new(&fleet, Source::new(1, run));
                while run.step() {}
                u64::from(run.shares_missing())
            };
            let estimate = Estimate::of_probability((0..runs).map(missing).sum(), 2 * runs, 0.999);
            assert!(estimate.holds(renewal.missing[place]), "{place}: {estimate:?}");
        }
    }
}

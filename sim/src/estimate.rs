//! Estimates with intervals that are worth their name.

use serde::Serialize;

use crate::exact::{beta_quantile, student_quantile};

/// A number and where the true one lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// The ends of the interval; in the long run the share `confidence` of such intervals holds the
    /// true value.
    pub interval: [f64; 2],
    /// From 0 to 1.
    pub confidence: f64,
}

impl Estimate {
    /// The probability behind `hits` of `trials` independent trials, by Clopper and Pearson
    /// (Biometrika 1934): never too narrow. Takes `trials` >= 1.
    pub fn of_probability(hits: u64, trials: u64, confidence: f64) -> Self {
        let tail = (1.0 - confidence) / 2.0;
        let (hits_f, misses) = (hits as f64, (trials - hits) as f64);
        let low = if hits == 0 { 0.0 } else { beta_quantile(hits_f, misses + 1.0, tail) };
        let high =
            if hits == trials { 1.0 } else { beta_quantile(hits_f + 1.0, misses, 1.0 - tail) };
        Self { value: hits_f / trials as f64, interval: [low, high], confidence }
    }

    /// The mean behind independent values of one law, by Student; `None` for fewer than two. Values
    /// should be means of batches, so that they are about normal.
    pub fn of_mean(values: &[f64], confidence: f64) -> Option<Self> {
        if values.len() < 2 {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance =
            values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let t = student_quantile(count - 1.0, (1.0 + confidence) / 2.0);
        let half = t * (variance / count).sqrt();
        Some(Self { value: mean, interval: [mean - half, mean + half], confidence })
    }

    /// The ratio of the means behind pairs of (numerator, denominator), by the delta method and
    /// Student; `None` for fewer than two pairs.
    pub fn of_ratio(pairs: &[[f64; 2]], confidence: f64) -> Option<Self> {
        let total = |part: usize| pairs.iter().map(|pair| pair[part]).sum::<f64>();
        let ratio = total(0) / total(1);
        let mean_below = total(1) / pairs.len() as f64;
        let deviations: Vec<f64> =
            pairs.iter().map(|[above, below]| (above - ratio * below) / mean_below).collect();
        let spread = Self::of_mean(&deviations, confidence)?;
        let half = (spread.interval[1] - spread.interval[0]) / 2.0;
        Some(Self { value: ratio, interval: [ratio - half, ratio + half], confidence })
    }

    /// Whether the interval holds a value.
    pub fn holds(&self, value: f64) -> bool {
        (self.interval[0]..=self.interval[1]).contains(&value)
    }

    /// Half the interval's width over the value.
    pub fn relative_half_width(&self) -> f64 {
        (self.interval[1] - self.interval[0]) / 2.0 / self.value.abs()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::exact::{Binomial, CountLaw};
    use crate::random::{Purpose, Source, normal_quantile};

    #[test]
    fn clopper_pearson_gives_known_ends() {
        let none = Estimate::of_probability(0, 100, 0.95);
        assert!((none.interval[1] - (1.0 - 0.025f64.powf(0.01))).abs() < 1e-12);
        assert_eq!(none.interval[0], 0.0);
        assert_eq!(Estimate::of_probability(100, 100, 0.95).interval[1], 1.0);
        // R: binom.test(7, 20)
        let seven = Estimate::of_probability(7, 20, 0.95);
        assert!((seven.interval[0] - 0.153_909_2).abs() < 1e-7, "{seven:?}");
        assert!((seven.interval[1] - 0.592_188_5).abs() < 1e-7, "{seven:?}");
    }

    /// The sum over all outcomes of those whose interval holds the truth.
    #[test]
    fn clopper_pearson_never_covers_less_than_it_says() {
        for p in [0.003, 0.05, 0.31, 0.5] {
            let law = Binomial { n: 60, p };
            let covered: f64 = (0..=60)
                .filter(|&hits| Estimate::of_probability(hits, 60, 0.95).holds(p))
                .map(|hits| law.probability(hits))
                .sum();
            assert!(covered >= 0.95, "{p}: {covered}");
        }
    }

    /// 1000 repetitions of batches of normal numbers.
    #[test]
    fn student_covers_what_it_says() {
        let repetitions = 1000;
        let (mut means, mut ratios) = (0, 0);
        for repetition in 0..repetitions {
            let source = Source::new(5, repetition);
            let normal = |i| normal_quantile(source.draw(0, Purpose::Jump, i).uniform());
            let values: Vec<f64> = (0..10).map(|i| 3.0 + normal(i)).collect();
            means += u32::from(Estimate::of_mean(&values, 0.95).unwrap().holds(3.0));
            let pairs: Vec<[f64; 2]> = (0..40)
                .map(|i| {
                    let below = 10.0 + normal(100 + i);
                    [0.5 * below + normal(200 + i), below]
                })
                .collect();
            ratios += u32::from(Estimate::of_ratio(&pairs, 0.95).unwrap().holds(0.5));
        }
        for covered in [means, ratios] {
            assert!((930..=970).contains(&covered), "{covered}");
        }
    }
}

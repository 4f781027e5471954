//! How many replications an interval of a wanted width takes.

use serde::Serialize;

use crate::campaign::Summary;
use crate::estimate::Estimate;
use crate::random::normal_quantile;

/// Replications that narrow the interval of a probability to a share of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Need {
    /// What is wanted.
    pub quantity: &'static str,
    /// The probability that the need follows from.
    pub probability: f64,
    /// Whether a pilot or a chain gave it; else it is only what the pilot did not see.
    pub known: bool,
    /// Replications.
    pub replications: f64,
}

/// Replications so that the interval of a probability p, counted over independent ones, has a half
/// width of `half_width` p at most: z^2 (1 - p) / (p h^2).
pub fn replications(probability: f64, half_width: f64, confidence: f64) -> f64 {
    let z = normal_quantile((1.0 + confidence) / 2.0);
    (z * z * (1.0 - probability) / (probability * half_width * half_width)).ceil().max(1.0)
}

/// The needs of the probabilities of a pilot; `exact_loss` takes the place of a loss that the pilot
/// may not have seen.
pub fn needs(
    pilot: &Summary,
    exact_loss: Option<f64>,
    half_width: f64,
    confidence: f64,
) -> Vec<Need> {
    let need = |quantity, estimate: Estimate, exact: Option<f64>| {
        let seen = (estimate.value > 0.0).then_some(estimate.value);
        let probability = exact.or(seen).unwrap_or(estimate.interval[1]);
        Need {
            quantity,
            probability,
            known: exact.or(seen).is_some(),
            replications: replications(probability, half_width, confidence),
        }
    };
    vec![
        need("P(any group is lost)", pilot.loss_of_any, exact_loss.filter(|&loss| loss > 0.0)),
        need("P(any group leaks)", pilot.leak_of_any, None),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The interval that comes out is as narrow as was planned.
    #[test]
    fn a_planned_interval_is_as_wide_as_wanted() {
        for (p, half_width) in [(0.3, 0.05), (0.01, 0.1), (1e-4, 0.2)] {
            let trials = replications(p, half_width, 0.95);
            let hits = (p * trials).round() as u64;
            let estimate = Estimate::of_probability(hits, trials as u64, 0.95);
            let ratio = estimate.relative_half_width() / half_width;
            assert!((0.95..1.1).contains(&ratio), "{p}: {ratio}");
        }
    }
}

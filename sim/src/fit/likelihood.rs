//! Families of laws and the parameters that make observations most likely.

use super::Observation;
use crate::random::{Law, normal_survival};
use crate::time::HOUR;

/// A family of laws.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) parameters: f64,
    /// The most likely parameters.
    pub(super) estimate: fn(&[Observation]) -> Law,
    /// A law as a scenario has it.
    pub(super) write: fn(&Law) -> String,
}

pub(super) const FAMILIES: [Family; 3] = [
    Family { name: "exponential", parameters: 1.0, estimate: exponential, write },
    Family { name: "weibull", parameters: 2.0, estimate: weibull, write },
    Family { name: "lognormal", parameters: 2.0, estimate: log_normal, write },
];

fn write(law: &Law) -> String {
    let hours = |span: f64| format!("\"{:.6}h\"", span / HOUR as f64);
    match law {
        Law::Exponential { mean } => format!("{{ exponential = {} }}", hours(*mean)),
        Law::Weibull { shape, scale, .. } => {
            format!("{{ weibull = {{ shape = {shape:.4}, scale = {} }} }}", hours(*scale))
        }
        Law::LogNormal { median, sigma } => {
            format!("{{ lognormal = {{ median = {}, sigma = {sigma:.4} }} }}", hours(*median))
        }
        other => format!("{other:?}"),
    }
}

/// P(T > span).
pub(super) fn survival(law: &Law, span: f64) -> f64 {
    match law {
        Law::Exponential { mean } => (-span / mean).exp(),
        Law::Weibull { shape, scale, location } => {
            (-((span - location).max(0.0) / scale).powf(*shape)).exp()
        }
        Law::LogNormal { median, sigma } => normal_survival((span / median).ln() / sigma),
        _ => f64::NAN,
    }
}

/// ln of the density of a law.
fn ln_density(law: &Law, span: f64) -> f64 {
    match law {
        Law::Exponential { mean } => -mean.ln() - span / mean,
        Law::Weibull { shape, scale, .. } => {
            let ratio = span / scale;
            (shape / scale).ln() + (shape - 1.0) * ratio.ln() - ratio.powf(*shape)
        }
        Law::LogNormal { median, sigma } => {
            let z = (span / median).ln() / sigma;
            -(span * sigma).ln() - 0.5 * (2.0 * std::f64::consts::PI).ln() - 0.5 * z * z
        }
        _ => f64::NAN,
    }
}

pub(super) fn ln_likelihood(law: &Law, observations: &[Observation]) -> f64 {
    let term = |one: &Observation| match one.ended {
        true => ln_density(law, one.span),
        false => survival(law, one.span).max(f64::MIN_POSITIVE).ln(),
    };
    observations.iter().map(term).sum()
}

fn ended(observations: &[Observation]) -> impl Iterator<Item = f64> + '_ {
    observations.iter().filter(|one| one.ended).map(|one| one.span)
}

/// All time over all ends.
fn exponential(observations: &[Observation]) -> Law {
    let time: f64 = observations.iter().map(|one| one.span).sum();
    Law::Exponential { mean: time / ended(observations).count() as f64 }
}

/// The shape solves sum(t^k ln t) / sum(t^k) - 1/k = mean(ln t of the ended), whose left side grows
/// with k (Cohen, Technometrics 7 (1965)).
fn weibull(observations: &[Observation]) -> Law {
    let count = ended(observations).count() as f64;
    // In units of the longest, so that no power overflows.
    let unit = observations.iter().map(|one| one.span).fold(0.0, f64::max);
    let lns: Vec<f64> = observations.iter().map(|one| (one.span / unit).ln()).collect();
    let mean_ln = ended(observations).map(|span| (span / unit).ln()).sum::<f64>() / count;
    let sums = |shape: f64| {
        lns.iter().fold([0.0, 0.0], |[sum, weighted], ln| {
            let power = (shape * ln).exp();
            [sum + power, weighted + power * ln]
        })
    };
    let too_small = |shape: f64| {
        let [sum, weighted] = sums(shape);
        weighted / sum - shape.recip() < mean_ln
    };
    let (mut low, mut high) = (1e-3, 1e3);
    for _ in 0..50 {
        let middle = f64::sqrt(low * high);
        if too_small(middle) { low = middle } else { high = middle }
    }
    let shape = f64::sqrt(low * high);
    let scale = unit * (sums(shape)[0] / count).powf(shape.recip());
    Law::Weibull { shape, scale, location: 0.0 }
}

/// Mean and deviation of the logarithms; those of unseen ends are replaced by what is expected of
/// them, again and again (Dempster, Laird, Rubin, Journal of the Royal Statistical Society B 39
/// (1977)).
fn log_normal(observations: &[Observation]) -> Law {
    let count = observations.len() as f64;
    let lns: Vec<(f64, bool)> = observations.iter().map(|one| (one.span.ln(), one.ended)).collect();
    let moments = |of: &dyn Fn(f64, bool) -> [f64; 2]| {
        let [sum, squares] = lns.iter().fold([0.0, 0.0], |[sum, squares], &(ln, ended)| {
            let [first, second] = of(ln, ended);
            [sum + first, squares + second]
        });
        let mean = sum / count;
        (mean, (squares / count - mean * mean).max(1e-12).sqrt())
    };
    let (mut mean, mut sigma) = moments(&|ln, _| [ln, ln * ln]);
    let steps = if lns.iter().all(|(_, ended)| *ended) { 0 } else { 200 };
    for _ in 0..steps {
        (mean, sigma) = moments(&|ln, ended| {
            if ended {
                return [ln, ln * ln];
            }
            let z = (ln - mean) / sigma;
            let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let hazard = density / normal_survival(z).max(f64::MIN_POSITIVE);
            let first = mean + sigma * hazard;
            [first, mean * mean + sigma * sigma + sigma * hazard * (mean + ln)]
        });
    }
    Law::LogNormal { median: mean.exp(), sigma }
}

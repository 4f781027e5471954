//! Laws from measured spans, by maximum likelihood, with how well they fit.

mod likelihood;
mod trace;

pub use trace::{Trace, TraceError};

use serde::Serialize;

use crate::random::{Law, Purpose, Source};

/// Samples of the bootstrap that gives p-values.
const BOOTSTRAPS: u64 = 200;
/// Observations that goodness of fit is judged by: with more every law is refused, since no law is
/// the truth.
const JUDGED_MAX: usize = 1000;

/// A span of time that was measured, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// How long.
    pub span: f64,
    /// Whether its end was seen; else it lasted at least so long.
    pub ended: bool,
}

/// A law and how well it fits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// The law; it is written as in scenarios.
    #[serde(skip)]
    pub law: Law,
    /// `exponential`, `weibull` or `lognormal`.
    pub name: &'static str,
    /// The law as a scenario has it.
    pub scenario: String,
    /// ln of the likelihood, of spans in nanoseconds.
    pub ln_likelihood: f64,
    /// 2 parameters - 2 ln likelihood (Akaike 1974): the least is the best.
    pub akaike: f64,
    /// The largest distance between the fitted and the observed distribution (Kolmogorov, Smirnov),
    /// of at most 1000 ended spans.
    pub distance: f64,
    /// How often samples of the fitted law, fitted again, are as far away: a parametric bootstrap
    /// (Stute and others, Metrika 40 (1993)). Below .05 the law is not what is behind the spans.
    pub p_value: f64,
}

/// The three laws, the best by Akaike's criterion first. Fewer than two ended spans above zero fit
/// nothing.
pub fn fit(observations: &[Observation]) -> Vec<Fit> {
    let positive: Vec<Observation> =
        observations.iter().copied().filter(|one| one.span > 0.0).collect();
    if positive.iter().filter(|one| one.ended).count() < 2 {
        return Vec::new();
    }
    let mut fits: Vec<Fit> =
        likelihood::FAMILIES.iter().map(|family| judge(family, &positive)).collect();
    fits.sort_by(|a, b| a.akaike.total_cmp(&b.akaike));
    fits
}

fn judge(family: &likelihood::Family, observations: &[Observation]) -> Fit {
    let law = (family.estimate)(observations);
    let ln_likelihood = likelihood::ln_likelihood(&law, observations);
    let mut spans: Vec<f64> =
        observations.iter().filter(|one| one.ended).map(|one| one.span).collect();
    let every = spans.len().div_ceil(JUDGED_MAX);
    spans = spans.into_iter().step_by(every).collect();
    // Where ends were missed, the law of the ended ones is another: only these are judged then.
    let all_ended = observations.iter().all(|one| one.ended);
    let ended: Vec<Observation> =
        spans.iter().map(|&span| Observation { span, ended: true }).collect();
    let judged = if all_ended { law.clone() } else { (family.estimate)(&ended) };
    let distance = distance(&judged, &mut spans);
    let farther = (0..BOOTSTRAPS)
        .filter(|&sample| bootstrap(family, &judged, spans.len(), sample) >= distance)
        .count();
    Fit {
        name: family.name,
        scenario: (family.write)(&law),
        ln_likelihood,
        akaike: 2.0 * family.parameters - 2.0 * ln_likelihood,
        distance,
        p_value: (farther + 1) as f64 / (BOOTSTRAPS + 1) as f64,
        law,
    }
}

/// The distance of a sample of a law from the law that is fitted to the sample.
fn bootstrap(family: &likelihood::Family, law: &Law, count: usize, sample: u64) -> f64 {
    let source = Source::new(1, sample);
    let mut spans: Vec<f64> = (0..count as u32)
        .map(|number| law.span(source.draw(0, Purpose::Life, number).uniform()) as f64)
        .collect();
    let drawn: Vec<Observation> =
        spans.iter().map(|&span| Observation { span: span.max(1.0), ended: true }).collect();
    distance(&(family.estimate)(&drawn), &mut spans)
}

fn distance(law: &Law, spans: &mut [f64]) -> f64 {
    spans.sort_by(f64::total_cmp);
    let count = spans.len() as f64;
    let gap = |(rank, &span): (usize, &f64)| {
        let below = 1.0 - likelihood::survival(law, span);
        (below - rank as f64 / count).abs().max(((rank + 1) as f64 / count - below).abs())
    };
    spans.iter().enumerate().map(gap).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::HOUR;

    const HOURS: f64 = HOUR as f64;

    fn sample(law: &Law, count: u32, seen_for: f64) -> Vec<Observation> {
        let source = Source::new(9, 0);
        (0..count)
            .map(|number| {
                let span = law.span(source.draw(0, Purpose::Life, number).uniform()) as f64;
                Observation { span: span.min(seen_for), ended: span <= seen_for }
            })
            .collect()
    }

    #[test]
    fn the_law_behind_a_sample_is_found_again() {
        let weibull = Law::Weibull { shape: 0.485, scale: 1285.0 * HOURS, location: 0.0 };
        let fits = fit(&sample(&weibull, 2000, f64::INFINITY));
        assert_eq!(fits[0].name, "weibull");
        let Law::Weibull { shape, scale, .. } = fits[0].law else { panic!("{fits:?}") };
        assert!((shape / 0.485 - 1.0).abs() < 0.06 && (scale / HOURS / 1285.0 - 1.0).abs() < 0.15);
        assert!(fits[0].p_value > 0.05, "{fits:?}");
        let exponential = fits.iter().find(|fit| fit.name == "exponential");
        assert!(exponential.is_some_and(|fit| fit.p_value < 0.01), "{fits:?}");

        let log_normal = Law::LogNormal { median: 2.0 * HOURS, sigma: 1.65 };
        let fits = fit(&sample(&log_normal, 2000, f64::INFINITY));
        let Law::LogNormal { median, sigma } = fits[0].law else { panic!("{fits:?}") };
        assert!((median / HOURS / 2.0 - 1.0).abs() < 0.12 && (sigma / 1.65 - 1.0).abs() < 0.06);
    }

    /// Ends that were not seen count as what they are: without that, lives come out too short.
    #[test]
    fn unseen_ends_are_no_ends() {
        for law in [
            Law::Exponential { mean: 10.0 * HOURS },
            Law::Weibull { shape: 1.4, scale: 10.0 * HOURS, location: 0.0 },
            Law::LogNormal { median: 10.0 * HOURS, sigma: 0.7 },
        ] {
            let fits = fit(&sample(&law, 3000, 8.0 * HOURS));
            let same = fits
                .iter()
                .find(|fit| std::mem::discriminant(&fit.law) == std::mem::discriminant(&law));
            let halves = |law: &Law| law.span(0.5) as f64;
            let ratio = same.map_or(0.0, |fit| halves(&fit.law) / halves(&law));
            assert!((ratio - 1.0).abs() < 0.08, "{ratio} {fits:?}");
        }
    }

    #[test]
    fn too_little_fits_nothing() {
        assert!(fit(&[]).is_empty());
        assert!(fit(&[Observation { span: 5.0, ended: true }]).is_empty());
        let unseen = [Observation { span: 5.0, ended: false }; 9];
        assert!(fit(&unseen).is_empty());
    }
}

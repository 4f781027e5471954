//! How long something takes: distributions of a span of time, drawn by inversion.

use thiserror::Error;

use super::{Purpose, Source, normal_quantile, normal_survival};
use crate::time::{NEVER, Nanoseconds};

/// A distribution of a span of time. Parameters that are spans are in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Law {
    /// It does not happen.
    Never,
    /// Always the same span.
    Fixed(f64),
    /// Without memory: P(T > t) = exp(-t / mean).
    Exponential {
        /// The mean span.
        mean: f64,
    },
    /// P(T > location + t) = exp(-(t / scale)^shape).
    Weibull {
        /// Below 1 the young fail most, above 1 the old.
        shape: f64,
        /// The span beyond the location that 1/e of all outlast.
        scale: f64,
        /// The least span.
        location: f64,
    },
    /// ln T is normal with mean ln(median) and standard deviation `sigma`.
    LogNormal {
        /// The span that half of all outlast.
        median: f64,
        /// The standard deviation of ln T.
        sigma: f64,
    },
    /// Anything up to a longest span: what is left until the next of regular moments.
    Uniform {
        /// The longest span.
        longest: f64,
    },
    /// One of the observed spans, all equally likely, in ascending order.
    Empirical(Vec<f64>),
}

/// A parameter that no distribution has.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum LawError {
    /// A span or shape must be above zero and finite.
    #[error("{parameter} is {value}, and must be above zero and finite")]
    NotPositive {
        /// Its name in a scenario.
        parameter: &'static str,
        /// What it was.
        value: f64,
    },
    /// The location of a Weibull law may be zero.
    #[error("{parameter} is {value}, and must be zero or above and finite")]
    Negative {
        /// Its name in a scenario.
        parameter: &'static str,
        /// What it was.
        value: f64,
    },
    /// An empirical law needs observations.
    #[error("there are no observations")]
    Empty,
}

impl Law {
    /// Checks the parameters.
    pub fn check(&self) -> Result<(), LawError> {
        match self {
            Self::Never => Ok(()),
            Self::Fixed(span) => not_negative("the span", *span),
            Self::Exponential { mean } => positive("mean", *mean),
            Self::Uniform { longest } => positive("the span", *longest),
            Self::Weibull { shape, scale, location } => {
                positive("shape", *shape)?;
                positive("scale", *scale)?;
                not_negative("location", *location)
            }
            Self::LogNormal { median, sigma } => {
                positive("median", *median)?;
                positive("sigma", *sigma)
            }
            Self::Empirical(spans) if spans.is_empty() => Err(LawError::Empty),
            Self::Empirical(spans) => {
                spans.iter().try_for_each(|&span| not_negative("an observation", span))
            }
        }
    }

    /// The span that a uniform number, 0 < uniform < 1, stands for. Rounded to a nanosecond;
    /// [`NEVER`] for what lasts longer than virtual time.
    pub fn span(&self, uniform: f64) -> Nanoseconds {
        // Small numbers are the finest, so they are given to the long tail.
        let exponential = || -uniform.ln();
        let span = match self {
            Self::Never => return NEVER,
            Self::Fixed(span) => *span,
            Self::Exponential { mean } => mean * exponential(),
            Self::Uniform { longest } => longest * (1.0 - uniform),
            Self::Weibull { shape, scale, location } => {
                location + scale * power(exponential(), shape.recip())
            }
            Self::LogNormal { median, sigma } => median * (-sigma * normal_quantile(uniform)).exp(),
            Self::Empirical(spans) => spans[(uniform * spans.len() as f64) as usize],
        };
        (span + 0.5) as Nanoseconds
    }

    /// P(T > time), `time` in nanoseconds and not below zero.
    pub fn survival(&self, time: f64) -> f64 {
        match self {
            Self::Never => 1.0,
            Self::Fixed(span) => f64::from(u8::from(*span > time)),
            Self::Exponential { mean } => (-time / mean).exp(),
            Self::Uniform { longest } => (1.0 - time / longest).max(0.0),
            Self::Weibull { shape, scale, location } => {
                (-power((time - location).max(0.0) / scale, *shape)).exp()
            }
            Self::LogNormal { median, sigma } => normal_survival((time / median).ln() / sigma),
            Self::Empirical(spans) => {
                let longer = spans.len() - spans.partition_point(|&span| span <= time);
                longer as f64 / spans.len() as f64
            }
        }
    }

    /// The law of spans so many times as long.
    pub fn scaled(&self, factor: f64) -> Self {
        match self.clone() {
            Self::Never => Self::Never,
            Self::Fixed(span) => Self::Fixed(span * factor),
            Self::Exponential { mean } => Self::Exponential { mean: mean * factor },
            Self::Uniform { longest } => Self::Uniform { longest: longest * factor },
            Self::Weibull { shape, scale, location } => {
                Self::Weibull { shape, scale: scale * factor, location: location * factor }
            }
            Self::LogNormal { median, sigma } => Self::LogNormal { median: median * factor, sigma },
            Self::Empirical(spans) => {
                Self::Empirical(spans.into_iter().map(|span| span * factor).collect())
            }
        }
    }

    /// The `number`-th span of an entity for a purpose.
    #[inline]
    pub fn draw(&self, source: &Source, entity: u32, purpose: Purpose, number: u32) -> Nanoseconds {
        let draw = || source.draw(entity, purpose, number).uniform();
        self.span(if self.is_random() { draw() } else { 0.5 })
    }

    /// Whether its spans differ, so that a draw is needed.
    fn is_random(&self) -> bool {
        !matches!(self, Self::Never | Self::Fixed(_))
    }

    /// Whether its spans fall as the uniform number rises.
    pub(super) fn falls(&self) -> bool {
        !matches!(self, Self::Empirical(_))
    }

    /// What is left, as drawn by a uniform number, of a span that has lasted for `age` already.
    pub fn residual(&self, age: Nanoseconds, uniform: f64) -> Nanoseconds {
        self.residual_of_worn(age, self.wear(age), uniform)
    }

    /// What of an age a residual span depends on, computed once for many of them.
    pub(crate) fn wear(&self, age: Nanoseconds) -> f64 {
        let age = age as f64;
        match self {
            Self::Weibull { shape, scale, location } => {
                power((age - location).max(0.0) / scale, *shape)
            }
            Self::LogNormal { median, sigma } => normal_survival((age / median).ln() / sigma),
            _ => 0.0,
        }
    }

    /// The residual span, of a law whose wear at that age is known.
    pub(crate) fn residual_of_worn(
        &self,
        age: Nanoseconds,
        wear: f64,
        uniform: f64,
    ) -> Nanoseconds {
        let age = age as f64;
        let whole = match self {
            Self::Never => return NEVER,
            Self::Fixed(span) => *span,
            Self::Exponential { mean } => age - mean * uniform.ln(),
            Self::Uniform { longest } => longest - (longest - age).max(0.0) * uniform,
            Self::Weibull { shape, scale, location } => {
                location + scale * power(wear - uniform.ln(), shape.recip())
            }
            Self::LogNormal { median, sigma } => {
                median * (-sigma * normal_quantile(uniform * wear)).exp()
            }
            Self::Empirical(spans) => {
                let longer = &spans[spans.partition_point(|&span| span <= age)..];
                longer.get((uniform * longer.len() as f64) as usize).copied().unwrap_or(age)
            }
        };
        ((whole - age).max(0.0) + 0.5) as Nanoseconds
    }

    /// The rate of a law without memory, per nanosecond; `None` for any other.
    pub fn constant_rate(&self) -> Option<f64> {
        match self {
            Self::Never => Some(0.0),
            Self::Exponential { mean } => Some(mean.recip()),
            Self::Weibull { shape, scale, location } if *shape == 1.0 && *location == 0.0 => {
                Some(scale.recip())
            }
            _ => None,
        }
    }
}

/// `base` to the power of an exponent, faster where that is a usual one.
#[inline]
fn power(base: f64, exponent: f64) -> f64 {
    match exponent {
        1.0 => base,
        2.0 => base * base,
        0.5 => base.sqrt(),
        _ => base.powf(exponent),
    }
}

fn positive(parameter: &'static str, value: f64) -> Result<(), LawError> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(LawError::NotPositive { parameter, value })
    }
}

fn not_negative(parameter: &'static str, value: f64) -> Result<(), LawError> {
    if value >= 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(LawError::Negative { parameter, value })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::random::{Purpose, Source};

    /// The largest distance between the drawn and the stated distribution, times sqrt(draws).
    fn kolmogorov(law: &Law, survival: impl Fn(f64) -> f64) -> f64 {
        let source = Source::new(3, 0);
        let draws = 4000;
        let mut spans: Vec<_> = (0..draws)
            .map(|number| law.span(source.draw(0, Purpose::Life, number).uniform()) as f64)
            .collect();
        spans.sort_by(f64::total_cmp);
        let distance = spans.iter().enumerate().map(|(rank, &span)| {
            (1.0 - survival(span) - (rank as f64 + 0.5) / f64::from(draws)).abs()
        });
        distance.fold(0.0, f64::max) * f64::from(draws).sqrt()
    }

    #[test]
    fn draws_follow_their_law() {
        // 1.95 is exceeded once in a thousand seeds.
        let hour = crate::time::HOUR as f64;
        let exponential = Law::Exponential { mean: 5.0 * hour };
        assert!(kolmogorov(&exponential, |t| (-t / (5.0 * hour)).exp()) < 1.95);
        let weibull = Law::Weibull { shape: 0.7, scale: 3.0 * hour, location: hour };
        let survival = |t: f64| (-((t - hour) / (3.0 * hour)).powf(0.7)).exp();
        assert!(kolmogorov(&weibull, survival) < 1.95);
        let log_normal = Law::LogNormal { median: 2.0 * hour, sigma: 1.65 };
        let crossing = |share: f64| log_normal.span(share) as f64 / hour;
        assert!((crossing(0.5) - 2.0).abs() < 1e-9);
        assert!((crossing(1.0 - 0.841_344_746_068_542_9) - 2.0 * 1.65f64.exp()).abs() < 1e-6);
    }

    /// Residual lives of those who reached an age are the lives themselves, beyond that age.
    #[test]
    fn residual_spans_follow_the_law_beyond_an_age() {
        let hour = crate::time::HOUR as f64;
        let age = 2.0 * hour;
        for law in [
            Law::Exponential { mean: 5.0 * hour },
            Law::Weibull { shape: 0.7, scale: 3.0 * hour, location: hour },
            Law::LogNormal { median: 2.0 * hour, sigma: 1.65 },
            Law::Empirical((1..2000).map(|i| f64::from(i) * hour / 100.0).collect()),
        ] {
            let source = Source::new(3, 0);
            let uniform = |number| source.draw(0, Purpose::Life, number).uniform();
            let mut whole: Vec<f64> = (0..8000).map(|i| law.span(uniform(i)) as f64).collect();
            whole.retain(|&span| span > age);
            let residual: Vec<f64> = (0..4000)
                .map(|i| age + law.residual(age as u64, uniform(i + 9000)) as f64)
                .collect();
            for quantile in [3.0, 5.0, 9.0].map(|hours| hours * hour) {
                let share = |spans: &[f64]| {
                    spans.iter().filter(|&&span| span <= quantile).count() as f64
                        / spans.len() as f64
                };
                let bound = 4.0 * (0.25 / whole.len() as f64 + 0.25 / 4000.0).sqrt();
                assert!((share(&whole) - share(&residual)).abs() < bound, "{law:?}");
            }
        }
        assert_eq!(Law::Fixed(5.0).residual(3, 0.5), 2);
    }

    /// The uniform number that gives a span is the probability of a longer one.
    #[test]
    fn survival_is_what_spans_are_drawn_by() {
        let hour = crate::time::HOUR as f64;
        for law in [
            Law::Exponential { mean: 5.0 * hour },
            Law::Uniform { longest: 5.0 * hour },
            Law::Weibull { shape: 0.7, scale: 3.0 * hour, location: hour },
            Law::LogNormal { median: 2.0 * hour, sigma: 1.65 },
        ] {
            for uniform in [0.001, 0.2, 0.5, 0.9] {
                let survival = law.survival(law.span(uniform) as f64);
                assert!((survival / uniform - 1.0).abs() < 1e-9, "{law:?} {uniform} {survival}");
            }
        }
        let observed = Law::Empirical(vec![1.0, 5.0, 9.0, 9.0]);
        assert_eq!([0.0, 1.0, 6.0, 9.0].map(|time| observed.survival(time)), [1.0, 0.75, 0.5, 0.0]);
        assert_eq!([4.0, 5.0].map(|time| Law::Fixed(5.0).survival(time)), [1.0, 0.0]);
        assert_eq!(Law::Never.survival(1e300), 1.0);
    }

    #[test]
    fn observations_are_drawn_evenly_and_constants_are_kept() {
        let law = Law::Empirical(vec![1.0, 5.0, 9.0]);
        let spans = [1e-9, 0.34, 0.99].map(|uniform| law.span(uniform));
        assert_eq!(spans, [1, 5, 9]);
        assert_eq!(Law::Fixed(42.0).span(0.9), 42);
        assert_eq!(Law::Never.span(0.1), NEVER);
        assert_eq!(Law::Exponential { mean: 1e19 }.span(1e-9), NEVER);
    }

    #[test]
    fn impossible_parameters_are_refused() {
        assert!(Law::Exponential { mean: 0.0 }.check().is_err());
        assert!(Law::Weibull { shape: 1.0, scale: 1.0, location: -1.0 }.check().is_err());
        assert!(Law::LogNormal { median: f64::NAN, sigma: 1.0 }.check().is_err());
        assert_eq!(Law::Empirical(vec![]).check(), Err(LawError::Empty));
        let message = Law::Weibull { shape: -1.0, scale: 1.0, location: 0.0 }.check().unwrap_err();
        assert_eq!(message.to_string(), "shape is -1, and must be above zero and finite");
    }
}

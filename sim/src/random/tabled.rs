//! Laws with a table that tells most long spans from short ones without computing them.

use super::Law;
use crate::time::Nanoseconds;

/// Cells of equal width of the uniform number.
const CELLS: usize = 32;

/// A law of which often no more is asked than whether its span is a long one.
#[derive(Clone, Debug)]
pub(crate) struct TabledLaw {
    law: Law,
    /// What no span is below, by the cell of its uniform number.
    least: [Nanoseconds; CELLS],
}

impl TabledLaw {
    pub(crate) fn new(law: &Law) -> Self {
        // Spans fall as the uniform number rises, but for the last bits of `ln` and `pow`.
        let least = |cell| {
            let end = (cell + 1) as f64 / CELLS as f64;
            let span = if end < 1.0 { law.span(end) } else { 0 };
            if law.falls() { span - (span >> 40) } else { 0 }
        };
        Self { law: law.clone(), least: std::array::from_fn(least) }
    }

    /// The law's span of a uniform number, or `bound` if that is less.
    #[inline]
    pub(crate) fn span_within(&self, uniform: f64, bound: Nanoseconds) -> Nanoseconds {
        if self.least[(uniform * CELLS as f64) as usize] >= bound {
            return bound;
        }
        self.law.span(uniform).min(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Source};
    use crate::time::{HOUR, NEVER};

    #[test]
    fn spans_are_those_of_the_law() {
        let hour = HOUR as f64;
        for law in [
            Law::Never,
            Law::Fixed(5.0 * hour),
            Law::Exponential { mean: 5.0 * hour },
            Law::Uniform { longest: 5.0 * hour },
            Law::Weibull { shape: 0.7, scale: 3.0 * hour, location: hour },
            Law::LogNormal { median: 2.0 * hour, sigma: 1.65 },
            Law::Empirical(vec![hour, 3.0 * hour, 9.0 * hour]),
        ] {
            let tabled = TabledLaw::new(&law);
            for number in 0..4000 {
                let draw = Source::new(1, 0).draw(0, Purpose::Life, number);
                let bound = (10.0 * hour * draw.second_uniform()) as Nanoseconds;
                for bound in [bound, NEVER] {
                    let span = law.span(draw.uniform()).min(bound);
                    assert_eq!(tabled.span_within(draw.uniform(), bound), span, "{law:?}");
                }
            }
        }
    }
}

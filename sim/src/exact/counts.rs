//! Distributions of counts, with tails that keep their relative accuracy at any size.

use std::f64::consts::TAU;

use super::special::{deviance, stirling_error};

/// A distribution of a count with a single mode.
pub trait CountLaw {
    /// ln P(X = x); minus infinity outside the support.
    fn ln_probability(&self, x: u64) -> f64;
    /// P(X = x+1) / P(X = x), for x in the support.
    fn ratio(&self, x: u64) -> f64;
    /// The least and the greatest possible count.
    fn support(&self) -> (u64, u64);
    /// A most likely count.
    fn mode(&self) -> u64;

    /// P(X = x).
    fn probability(&self, x: u64) -> f64 {
        self.ln_probability(x).exp()
    }

    /// ln P(X >= x).
    fn ln_at_least(&self, x: u64) -> f64 {
        let (least, greatest) = self.support();
        if x <= least { 0.0 } else { ln_sum(self, x, greatest) }
    }

    /// ln P(X <= x).
    fn ln_at_most(&self, x: u64) -> f64 {
        let (least, greatest) = self.support();
        if x >= greatest { 0.0 } else { ln_sum(self, least, x) }
    }

    /// P(X >= x).
    fn at_least(&self, x: u64) -> f64 {
        self.ln_at_least(x).exp()
    }

    /// P(X <= x).
    fn at_most(&self, x: u64) -> f64 {
        self.ln_at_most(x).exp()
    }
}

/// ln P(first <= X <= last): terms relative to the largest of them, outwards until they vanish.
fn ln_sum<L: CountLaw + ?Sized>(law: &L, first: u64, last: u64) -> f64 {
    let (least, greatest) = law.support();
    let (first, last) = (first.max(least), last.min(greatest));
    if first > last {
        return f64::NEG_INFINITY;
    }
    let anchor = law.mode().clamp(first, last);
    let mut sum = 1.0;
    let mut term = 1.0;
    for x in anchor..last {
        term *= law.ratio(x);
        sum += term;
        if term < sum * 1e-18 {
            break;
        }
    }
    term = 1.0;
    for x in (first..anchor).rev() {
        term /= law.ratio(x);
        sum += term;
        if term < sum * 1e-18 {
            break;
        }
    }
    // Rounding may lift a sum over nearly everything above one.
    (law.ln_probability(anchor) + sum.ln()).min(0.0)
}

/// How many of `n` independent trials of probability `p` succeed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binomial {
    /// Trials.
    pub n: u64,
    /// 0 to 1.
    pub p: f64,
}

impl CountLaw for Binomial {
    fn ln_probability(&self, x: u64) -> f64 {
        ln_binomial(self.n, x, self.p, 1.0 - self.p)
    }

    fn ratio(&self, x: u64) -> f64 {
        (self.n - x) as f64 / (x + 1) as f64 * (self.p / (1.0 - self.p))
    }

    fn support(&self) -> (u64, u64) {
        if self.p <= 0.0 {
            (0, 0)
        } else if self.p >= 1.0 {
            (self.n, self.n)
        } else {
            (0, self.n)
        }
    }

    fn mode(&self) -> u64 {
        (((self.n + 1) as f64 * self.p) as u64).min(self.n)
    }
}

/// Loader 2000: Stirling's formula and deviances instead of factorials.
fn ln_binomial(n: u64, x: u64, p: f64, q: f64) -> f64 {
    if x > n {
        return f64::NEG_INFINITY;
    }
    let (trials, successes, failures) = (n as f64, x as f64, (n - x) as f64);
    if x == 0 {
        return if n == 0 { 0.0 } else { trials * if p < 0.5 { (-p).ln_1p() } else { q.ln() } };
    }
    if x == n {
        return trials * p.ln();
    }
    stirling_error(trials)
        - stirling_error(successes)
        - stirling_error(failures)
        - deviance(successes, trials * p)
        - deviance(failures, trials * q)
        - 0.5 * (TAU * successes * failures / trials).ln()
}

/// How many events come when `mean` of them are expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poisson {
    /// Above zero.
    pub mean: f64,
}

impl CountLaw for Poisson {
    fn ln_probability(&self, x: u64) -> f64 {
        if x == 0 {
            return -self.mean;
        }
        let count = x as f64;
        -stirling_error(count) - deviance(count, self.mean) - 0.5 * (TAU * count).ln()
    }

    fn ratio(&self, x: u64) -> f64 {
        self.mean / (x + 1) as f64
    }

    fn support(&self) -> (u64, u64) {
        (0, u64::MAX)
    }

    fn mode(&self) -> u64 {
        self.mean as u64
    }
}

/// How many marked ones are among `drawn` of `population`, of which `marked` are marked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hypergeometric {
    /// All.
    pub population: u64,
    /// Marked among all, at most all.
    pub marked: u64,
    /// Drawn without putting back, at most all.
    pub drawn: u64,
}

impl CountLaw for Hypergeometric {
    /// Three binomial probabilities at p = drawn / population, whose powers of p cancel.
    fn ln_probability(&self, x: u64) -> f64 {
        let (least, greatest) = self.support();
        if x < least || x > greatest {
            return f64::NEG_INFINITY;
        }
        if least == greatest {
            return 0.0;
        }
        let unmarked = self.population - self.marked;
        let p = self.drawn as f64 / self.population as f64;
        let q = (self.population - self.drawn) as f64 / self.population as f64;
        ln_binomial(self.marked, x, p, q) + ln_binomial(unmarked, self.drawn - x, p, q)
            - ln_binomial(self.population, self.drawn, p, q)
    }

    fn ratio(&self, x: u64) -> f64 {
        let unmarked_left = self.population - self.marked + x + 1 - self.drawn;
        (self.marked - x) as f64 * (self.drawn - x) as f64 / ((x + 1) as f64 * unmarked_left as f64)
    }

    fn support(&self) -> (u64, u64) {
        let unmarked = self.population - self.marked;
        (self.drawn.saturating_sub(unmarked), self.drawn.min(self.marked))
    }

    fn mode(&self) -> u64 {
        let (least, greatest) = self.support();
        let mode =
            (self.drawn + 1) as f64 * (self.marked + 1) as f64 / (self.population + 2) as f64;
        (mode as u64).clamp(least, greatest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// C(n, x) as an integer.
    fn choose(n: u64, x: u64) -> u128 {
        (0..x).fold(1, |product, i| product * u128::from(n - i) / u128::from(i + 1))
    }

    fn assert_close(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-12, "{value:e} is not {expected:e}");
    }

    #[test]
    fn tails_hold_over_hundreds_of_decades() {
        // P(Bin(200, 1e-6) >= 100): the first term and a correction of 1e-6.
        let law = Binomial { n: 200, p: 1e-6 };
        let ln_first: f64 = (0..100).map(|i| f64::from(200 - i).ln() - f64::from(i + 1).ln()).sum();
        let expected = ln_first + 100.0 * 1e-6f64.ln() + 100.0 * (-1e-6f64).ln_1p();
        assert!((law.ln_at_least(100) - expected - 1e-6 * 100.0 / 101.0).abs() < 1e-9);
        assert!(law.ln_at_least(100) < -1240.0);
        assert_close(Poisson { mean: 1e-7 }.at_least(3), 1e-21 / 6.0 * (1.0 - 0.75e-7));
    }

    #[test]
    fn certain_counts_have_no_spread() {
        assert_eq!(Binomial { n: 5, p: 0.0 }.at_least(1), 0.0);
        assert_eq!(Binomial { n: 5, p: 1.0 }.at_least(5), 1.0);
        assert_eq!(Binomial { n: 0, p: 0.3 }.at_most(0), 1.0);
        let all = Hypergeometric { population: 9, marked: 9, drawn: 4 };
        assert_eq!((all.at_least(4), all.at_least(5)), (1.0, 0.0));
    }

    proptest! {
        #[test]
        fn binomial_tails_equal_brute_force(n in 1u64..40, x in 0u64..41, p in 0.001f64..0.999) {
            let x = x.min(n);
            let term = |i: u64| choose(n, i) as f64 * p.powi(i as i32) * (1.0 - p).powi((n - i) as i32);
            let law = Binomial { n, p };
            assert_close(law.at_least(x), (x..=n).rev().map(term).sum());
            assert_close(law.at_most(x), (0..=x).map(term).sum());
        }

        #[test]
        fn hypergeometric_tails_equal_brute_force(
            population in 2u64..60, marked in 1u64..60, drawn in 1u64..60, x in 0u64..60,
        ) {
            let (marked, drawn) = (marked.min(population), drawn.min(population));
            let law = Hypergeometric { population, marked, drawn };
            let (least, greatest) = law.support();
            let x = x.clamp(least, greatest);
            let ways = |i: u64| choose(marked, i) * choose(population - marked, drawn - i);
            let all = choose(population, drawn) as f64;
            assert_close(law.at_least(x), (x..=greatest).map(ways).sum::<u128>() as f64 / all);
            assert_close(law.at_most(x), (least..=x).map(ways).sum::<u128>() as f64 / all);
        }

        #[test]
        fn poisson_tails_equal_brute_force(mean in 0.001f64..30.0, x in 0u64..60) {
            let law = Poisson { mean };
            let mut terms = vec![(-mean).exp()];
            for i in 1..300u32 {
                terms.push(terms[i as usize - 1] * mean / f64::from(i));
            }
            assert_close(law.at_most(x), terms[..=x as usize].iter().sum());
            assert_close(law.at_least(x), terms[x as usize..].iter().rev().sum());
        }
    }
}

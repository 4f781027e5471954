//! Logarithms of factorials and the incomplete beta function.

use std::f64::consts::{PI, TAU};

/// ln(n!) less Stirling's formula ln(sqrt(tau n) (n/e)^n), for n >= 1: small, so that the rest of a
/// probability can be taken without cancellation (Loader, "Fast and accurate computation of binomial
/// probabilities", 2000).
pub(super) fn stirling_error(n: f64) -> f64 {
    if n <= 15.0 {
        let factorial: f64 = (1..=n as u64).map(|i| i as f64).product();
        return factorial.ln() - (n + 0.5) * n.ln() + n - 0.5 * TAU.ln();
    }
    let square = n * n;
    let series = 1.0 / 1188.0 / square;
    let series = (1.0 / 1680.0 - series) / square;
    let series = (1.0 / 1260.0 - series) / square;
    let series = (1.0 / 360.0 - series) / square;
    (1.0 / 12.0 - series) / n
}

/// x ln(x/m) + m - x, without cancellation where x is near m (Loader 2000, §3).
pub(super) fn deviance(x: f64, m: f64) -> f64 {
    if (x - m).abs() >= 0.1 * (x + m) {
        return x * (x / m).ln() + m - x;
    }
    let ratio = (x - m) / (x + m);
    let mut sum = (x - m) * ratio;
    let mut power = 2.0 * x * ratio;
    for divisor in (3..1000).step_by(2) {
        power *= ratio * ratio;
        let next = sum + power / f64::from(divisor);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

/// ln of the gamma function for x > 0, by Stirling's series after a shift beyond 15.
fn ln_gamma(x: f64) -> f64 {
    let (mut shifted, mut product) = (x, 1.0);
    while shifted < 15.0 {
        product *= shifted;
        shifted += 1.0;
    }
    let square = shifted * shifted;
    let series = (1.0 / 12.0
        - (1.0 / 360.0
            - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square) / square)
            / square)
        / shifted;
    (shifted - 0.5) * shifted.ln() - shifted + 0.5 * (2.0 * PI).ln() + series - product.ln()
}

/// The regularised incomplete beta function I_x(a, b), by Lentz's continued fraction.
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let ln_front =
        ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p() - a.ln();
    ln_front.exp() * continued_fraction(a, b, x)
}

fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = away(1.0 - (a + b) * x / (a + 1.0)).recip();
    let mut fraction = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = away(1.0 + term * d).recip();
            c = away(1.0 + term / c);
            fraction *= d * c;
        }
        if (fraction / before - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// The x with I_x(a, b) = `probability`, by bisection to the last bit.
pub fn beta_quantile(a: f64, b: f64, probability: f64) -> f64 {
    bisect(0.0, 1.0, |x| incomplete_beta(a, b, x) < probability)
}

/// The t that Student's distribution with `freedom` degrees stays below with `probability` >= 1/2.
pub fn student_quantile(freedom: f64, probability: f64) -> f64 {
    // P(|T| > t) = I_x(freedom/2, 1/2) at x = freedom / (freedom + t^2).
    let x = beta_quantile(freedom / 2.0, 0.5, 2.0 * (1.0 - probability));
    (freedom * (1.0 - x) / x).sqrt()
}

fn bisect(mut low: f64, mut high: f64, too_low: impl Fn(f64) -> bool) -> f64 {
    // Halves the exponent first, then the mantissa: tiny quantiles keep their relative accuracy.
    loop {
        let middle = if low == 0.0 && high > 1e-300 {
            high * high.min(0.5)
        } else {
            low + 0.5 * (high - low)
        };
        if middle <= low || middle >= high {
            return middle;
        }
        if too_low(middle) { low = middle } else { high = middle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(value: f64, expected: f64, relative: f64) {
        assert!((value / expected - 1.0).abs() < relative, "{value:e} is not {expected:e}");
    }

    #[test]
    fn stirling_error_meets_its_series() {
        let exact: f64 = (1..=16).map(|i| f64::from(i).ln()).sum();
        let stirling = 16.5 * 16f64.ln() - 16.0 + 0.5 * TAU.ln();
        assert!((stirling_error(16.0) - (exact - stirling)).abs() < 1e-13);
        assert_close(stirling_error(1.0), 1.0 - 0.5 * TAU.ln(), 1e-14);
    }

    #[test]
    fn deviance_has_no_seam() {
        for x in [121.9f64, 122.1, 100.001] {
            let plain = x * (x / 100.0).ln() + 100.0 - x;
            assert!((deviance(x, 100.0) - plain).abs() < 1e-12);
        }
        assert_eq!(deviance(7.0, 7.0), 0.0);
    }

    #[test]
    fn incomplete_beta_agrees_with_binomial_sums() {
        // I_x(a, b) = P(Bin(a+b-1, x) >= a); here 1 - .7^5 and .3^5.
        assert_close(incomplete_beta(1.0, 5.0, 0.3), 1.0 - 0.7f64.powi(5), 1e-13);
        assert_close(incomplete_beta(5.0, 1.0, 0.3), 0.3f64.powi(5), 1e-13);
        assert_close(incomplete_beta(0.5, 0.5, 0.5), 0.5, 1e-13);
    }

    #[test]
    fn quantiles_invert() {
        assert_close(beta_quantile(1.0, 100_000.0, 0.025), 2.531_776e-7, 1e-5);
        assert_close(student_quantile(9.0, 0.975), 2.262_157_162_740_992, 1e-10);
        assert_close(student_quantile(1.0, 0.975), 12.706_204_736_174_7, 1e-10);
        assert_close(student_quantile(1e6, 0.975), 1.959_966_356_818_3, 1e-9);
    }
}

//! The quantile of the normal distribution.

/// The x with P(N(0, 1) <= x) = `probability`, to a relative 1e-15: algorithm PPND16 of Wichura,
/// "Algorithm AS 241", Applied Statistics 37 (1988). Takes 0 < probability < 1.
pub fn normal_quantile(probability: f64) -> f64 {
    let q = probability - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * ratio(&CENTRE, r);
    }
    let tail = if q < 0.0 { probability } else { 1.0 - probability };
    let r = (-tail.ln()).sqrt();
    let x = if r <= 5.0 { ratio(&MIDDLE, r - 1.6) } else { ratio(&FAR, r - 5.0) };
    x.copysign(q)
}

/// P(N(0, 1) > x), to a relative 1e-13: Taylor's series near zero, beyond it the continued fraction
/// of Laplace (Abramowitz, Stegun, 26.2.11 and 26.2.14).
pub fn normal_survival(x: f64) -> f64 {
    if x < 0.0 {
        return 1.0 - normal_survival(-x);
    }
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if x < 2.5 {
        let (mut term, mut sum, mut divisor) = (x, x, 1.0);
        while term > sum * 1e-17 {
            divisor += 2.0;
            term *= x * x / divisor;
            sum += term;
        }
        return 0.5 - density * sum;
    }
    let fraction = (1..200).rev().fold(x, |below, i| x + f64::from(i) / below);
    density / fraction
}

/// A polynomial over another, both of degree 7, coefficients from the constant on.
type Rational = [[f64; 8]; 2];

fn ratio(coefficients: &Rational, x: f64) -> f64 {
    let horner = |polynomial: &[f64; 8]| polynomial.iter().rev().fold(0.0, |sum, c| sum * x + c);
    horner(&coefficients[0]) / horner(&coefficients[1])
}

const CENTRE: Rational = [
    [
        3.387_132_872_796_366_5,
        1.331_416_678_917_843_8e2,
        1.971_590_950_306_551_3e3,
        1.373_169_376_550_946e4,
        4.592_195_393_154_987e4,
        6.726_577_092_700_87e4,
        3.343_057_558_358_813e4,
        2.509_080_928_730_122_7e3,
    ],
    [
        1.0,
        4.231_333_070_160_091e1,
        6.871_870_074_920_579e2,
        5.394_196_021_424_751e3,
        2.121_379_430_158_66e4,
        3.930_789_580_009_271e4,
        2.872_908_573_572_194_3e4,
        5.226_495_278_852_854e3,
    ],
];

const MIDDLE: Rational = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        2.417_807_251_774_506e-1,
        2.272_384_498_926_918_4e-2,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        6.897_673_349_851e-1,
        1.481_039_764_274_800_8e-1,
        1.519_866_656_361_645_7e-2,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
];

const FAR: Rational = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        2.965_605_718_285_048_7e-1,
        2.653_218_952_657_612_4e-2,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        5.998_322_065_558_88e-1,
        1.369_298_809_227_358e-1,
        1.487_536_129_085_061_5e-2,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_tables_to_the_last_digits() {
        // 40 digits of mpmath's erfinv, cut to those of a double.
        for (probability, expected) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.995, 2.575_829_303_548_901),
            (0.1, -1.281_551_565_544_600_4),
            (1e-10, -6.361_340_902_404_056),
            (1e-300, -37.047_096_299_361_2),
        ] {
            let x = normal_quantile(probability);
            assert!((x - expected).abs() <= 4e-15 * x.abs().max(1.0), "{probability}: {x}");
        }
    }

    #[test]
    fn survival_and_quantile_are_inverse() {
        for exponent in 1..=300 {
            let tail = 10f64.powi(-exponent);
            let survival = normal_survival(-normal_quantile(tail));
            assert!((survival / tail - 1.0).abs() < 1e-11, "{tail:e}: {survival:e}");
        }
        for x in [0.0, 0.3, 2.499, 2.501] {
            assert!((normal_survival(-x) + normal_survival(x) - 1.0).abs() < 1e-15);
        }
    }
}

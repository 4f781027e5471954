//! Arithmetic in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1, generator x (spec/gf.md).
//!
//! The functions of this module look tables up and are for *public* operands: evaluation points,
//! coefficients, ciphertext. Secrets go through [`constant_time`]. Bulk data goes through
//! [`Combination`], which multiplies byte strips by a whole [`Matrix`] or interpolates, or
//! [`Patchwork`], which sums products at many places. [`oracle`] defines the field.
//!
//! How bulk data is multiplied, from the outside in: `combination` gathers the rows of a matrix into
//! passes; `program` runs them tile by tile; `kernel` knows the fastest instructions of the processor
//! for a pass; `pass_loop` is the loop of all vector kernels, over what `vector` asks of them; and
//! `avx512_gfni`, `avx2_gfni`, `avx2` and `neon` tell what a vector is and how it is multiplied by a
//! constant, with one instruction (`affine`) or with two (`nibbles`). `portable` has loops of its own.
//! Between points that come in fours, `quads` makes passes of fewer products, with the step `quad_loop`.
//! In the same way `patchwork` gathers patches, for `patch_loop`.

pub mod constant_time;
pub mod oracle;

#[cfg(target_arch = "x86_64")]
mod affine;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_gfni;
#[cfg(target_arch = "x86_64")]
mod avx512_gfni;
mod combination;
mod kernel;
mod matrix;
#[cfg(any(target_arch = "aarch64", test))]
mod neon;
#[cfg(all(not(target_arch = "aarch64"), test))]
mod neon_emulation;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod nibbles;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod pass_loop;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod patch_loop;
mod patchwork;
mod portable;
mod program;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod quad_loop;
mod quads;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod vector;

pub use combination::Combination;
pub use kernel::{KernelError, force, kernels};
pub use matrix::Matrix;
pub use patchwork::{Patch, Patchwork, Spot, Term};

/// The field polynomial, the one of `reed-solomon-erasure`, `sharks` and `blahaj`.
pub const POLYNOMIAL: u16 = 0x11D;

/// Powers of the generator, twice over so that a sum of two logarithms needs no reduction.
static EXP: [u8; 510] = powers();
static LOG: [u8; 256] = logarithms();

/// The product of `a` and `b`.
pub fn mul(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 { 0 } else { EXP[log(a) + log(b)] }
}

/// The inverse of `a`; 0 for 0.
pub fn inv(a: u8) -> u8 {
    if a == 0 { 0 } else { EXP[255 - log(a)] }
}

/// `a` divided by `b`; 0 if `b` is 0.
pub fn div(a: u8, b: u8) -> u8 {
    mul(a, inv(b))
}

/// `base` to the power of `exponent`; 0 to the power of 0 is 1.
pub fn pow(base: u8, exponent: usize) -> u8 {
    match (base, exponent) {
        (_, 0) => 1,
        (0, _) => 0,
        _ => EXP[log(base) * (exponent % 255) % 255],
    }
}

/// The coefficients c with f(`at`) = sum of c_i f(`points`_i) for every polynomial f of degree
/// less than the number of points (Lagrange).
///
/// The points must be distinct. At one of the points the result is a unit vector.
pub fn lagrange(points: &[u8], at: u8) -> Vec<u8> {
    let coefficient = |index: usize| {
        let mut product = 1;
        for (other, &point) in points.iter().enumerate() {
            if other != index {
                product = mul(product, div(at ^ point, points[index] ^ point));
            }
        }
        product
    };
    (0..points.len()).map(coefficient).collect()
}

fn log(element: u8) -> usize {
    LOG[element as usize] as usize
}

const fn powers() -> [u8; 510] {
    let mut powers = [1; 510];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = oracle::mul(POLYNOMIAL, powers[exponent - 1], 2);
        exponent += 1;
    }
    powers
}

const fn logarithms() -> [u8; 256] {
    let powers = powers();
    let mut logarithms = [0; 256];
    let mut exponent = 0;
    while exponent < 255 {
        logarithms[powers[exponent] as usize] = exponent as u8;
        exponent += 1;
    }
    logarithms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_equal_the_oracle() {
        for a in 0..=255 {
            assert_eq!(inv(a), oracle::inv(POLYNOMIAL, a));
            for b in 0..=255 {
                assert_eq!(mul(a, b), oracle::mul(POLYNOMIAL, a, b));
                assert_eq!(mul(div(a, b), b), if b == 0 { 0 } else { a });
            }
        }
    }

    #[test]
    fn powers_are_repeated_products() {
        for base in 0..=255 {
            let mut expected = 1;
            for exponent in 0..600 {
                assert_eq!(pow(base, exponent), expected);
                expected = mul(expected, base);
            }
        }
    }

    #[test]
    fn interpolation_is_exact_below_its_degree() {
        let polynomial = |x| 7 ^ mul(13, x) ^ mul(99, mul(x, x));
        let points = [0, 4, 200];
        for at in 0..=255 {
            let coefficients = lagrange(&points, at);
            let value = points
                .iter()
                .zip(&coefficients)
                .fold(0, |sum, (&point, &coefficient)| sum ^ mul(coefficient, polynomial(point)));
            assert_eq!(value, polynomial(at));
        }
        assert_eq!(lagrange(&points, 4), [0, 1, 0]);
    }
}

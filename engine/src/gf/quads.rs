//! Interpolation with few products, where points come in fours (spec/gf.md §4).
//!
//! The four points p, p+1, p+2, p+3 with p a multiple of 4 are a coset of the subspace {0, 1, 2, 3}, a
//! *quad*. With s(x) = x(x+1)/6, which is 0, 0, 1, 1 on that subspace, and S(x) = x(x+1)(x+2)(x+3),
//! which is constant on every quad, each polynomial of degree < 4a is in one way
//!
//!   f = (f0 + x·f1) + s·(f2 + x·f3), with f0 … f3 polynomials of degree < a in S(x).
//!
//! On one quad f0 … f3 are constants, and a transform of four products makes them from the four values
//! of f, or the values from them. From quads to other quads it is they that are interpolated, all four
//! with the same coefficients, which are a quarter as many as those between the points: this is the
//! basis of Lin, Chung, Han, "Novel polynomial basis and its application to Reed-Solomon erasure codes"
//! (FOCS 2014), of whose transform the two innermost levels are taken.

use super::kernel::{Kernel, Prepared};
use super::program::{Method, Pass};
use super::{div, lagrange, mul};

/// Points of a quad.
pub(super) const QUAD: usize = 4;

/// Factors of a transform: s at the first point for the outer step, and x at the first and the third
/// point for the inner ones.
pub(super) const FACTORS: usize = 3;

/// What an interpolation between points leaves to passes of sums, by the numbers of its outputs, and
/// the passes of quads that compute the others.
pub(super) fn passes(kernel: &Kernel, from: &[u8], to: &[u8]) -> (Vec<usize>, Vec<Pass>) {
    let (copied, computed): (Vec<usize>, Vec<usize>) =
        (0..to.len()).partition(|&output| from.contains(&to[output]));
    match between(kernel, from, to, &computed) {
        Some(passes) => (copied, passes),
        None => ((0..to.len()).collect(), Vec::new()),
    }
}

/// Passes to some of the outputs; `None` if their points or those of the inputs do not come in quads, or
/// if nothing is gained by it.
fn between(kernel: &Kernel, from: &[u8], to: &[u8], outputs: &[usize]) -> Option<Vec<Pass>> {
    let most = kernel.quads.as_ref()?.outputs / QUAD;
    let known = first_points(from).filter(|_| from.len().is_multiple_of(QUAD))?;
    let sought: Vec<u8> = outputs.iter().map(|&output| to[output]).collect();
    let sought = first_points(&sought)?;
    // A pass of sums does 7 products while this one does 5, for the transforms have more additions.
    let gains = 5 * from.len() * outputs.len() > 7 * products(known.len(), sought.len());
    if known.len() < 2 || !gains {
        return None;
    }
    // As few passes as possible, for each transforms all inputs; and of one size.
    let quads = sought.len().div_ceil(sought.len().div_ceil(most));
    let pass = |(outputs, sought): (&[usize], &[u8])| Pass {
        method: Method::Quads,
        inputs: (0..from.len()).collect(),
        starts: Vec::new(),
        outputs: outputs.iter().map(|&output| from.len() + output).collect(),
        coefficients: coefficients(kernel, &known, sought),
    };
    Some(outputs.chunks(QUAD * quads).zip(sought.chunks(quads)).map(pass).collect())
}

/// The first points of the quads that the points are, in order, the last of which may be cut off;
/// `None` if they are none.
fn first_points(points: &[u8]) -> Option<Vec<u8>> {
    let first = |quad: &[u8]| {
        let first = quad[0];
        let run = quad.iter().zip(first..=u8::MAX).all(|(&point, expected)| point == expected);
        (first.is_multiple_of(QUAD as u8) && run).then_some(first)
    };
    points.chunks(QUAD).map(first).collect()
}

/// The coefficients of a pass between quads, given by their first points: the factors of every input,
/// for every input its coefficient for every output, the factors of every output.
fn coefficients(kernel: &Kernel, from: &[u8], to: &[u8]) -> Vec<Prepared> {
    let places: Vec<u8> = from.iter().copied().map(place).collect();
    let rows: Vec<Vec<u8>> = to.iter().map(|&first| lagrange(&places, place(first))).collect();
    let columns = (0..from.len()).flat_map(|input| rows.iter().map(move |row| row[input]));
    let [inverse, forward] = [from, to].map(|quads| quads.iter().flat_map(|&first| factors(first)));
    inverse.chain(columns).chain(forward).map(kernel.prepare).collect()
}

/// How many coefficients that is.
pub(super) fn coefficient_count(from: usize, to: usize) -> usize {
    from * to + FACTORS * (from + to)
}

/// How many products a pass takes per byte of a strip.
pub(super) fn products(from: usize, to: usize) -> usize {
    QUAD * (from * to + from + to)
}

/// S of the points of a quad.
fn place(first: u8) -> u8 {
    (0..QUAD as u8).fold(1, |product, offset| mul(product, first ^ offset))
}

/// Those of the transform on a quad.
fn factors(first: u8) -> [u8; FACTORS] {
    [div(mul(first, first ^ 1), mul(2, 3)), first, first ^ 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gf::kernel;

    #[test]
    fn points_are_quads_where_they_begin_at_multiples_of_four() {
        assert_eq!(first_points(&[8, 9, 10, 11, 252, 253, 254, 255]), Some(vec![8, 252]));
        assert_eq!(first_points(&[4, 5, 6, 7, 0, 1]), Some(vec![4, 0]));
        for points in [&[1, 2, 3, 4][..], &[0, 1, 3, 2], &[0, 1, 4, 5], &[254, 255, 0, 1]] {
            assert_eq!(first_points(points), None, "{points:?}");
        }
    }

    /// Shapes of k data and m parity points, and of how many outputs the passes are.
    #[test]
    fn passes_are_few_and_alike_and_only_where_products_are_saved() {
        let shapes = [
            ((8, 4), &[4][..]),
            ((20, 10), &[10]),
            ((20, 22), &[12, 10]),
            ((8, 5), &[]),
            ((4, 8), &[]),
            ((10, 10), &[]),
        ];
        let kernel = kernel::available().find(|kernel| kernel.name == "neon").unwrap();
        for ((k, m), expected) in shapes {
            let [from, to] = [0..k, 0..k + m].map(Vec::from_iter);
            let (direct, passes) = passes(kernel, &from, &to);
            let outputs: Vec<usize> = passes.iter().map(|pass| pass.outputs.len()).collect();
            assert_eq!(outputs, expected, "({k}, {m})");
            let others = usize::from(k + m) - outputs.iter().sum::<usize>();
            assert_eq!(direct, Vec::from_iter(0..others), "({k}, {m})");
        }
    }
}

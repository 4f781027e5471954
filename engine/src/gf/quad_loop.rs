//! What a pass of quads does at one place of its strips (spec/gf.md §4).
//!
//! A quad is four strips: the values of a polynomial at four points. They become coefficients, these
//! are multiplied and added up like the strips of any pass, and the sums become values again.

use super::kernel::Prepared;
use super::pass_loop::{Step, prefetch, run};
use super::program::Strips;
use super::quads::{FACTORS, QUAD};
use super::vector::{Sums, Vector, load, operands, store};

/// One vector of each strip of a quad.
type Quad<V> = [V; QUAD];

/// Computes a pass of `QUADS` quads, the last of which may lack strips.
///
/// # Safety
/// As for every kernel for quads.
#[inline(always)]
pub(super) unsafe fn interpolate<V: Vector, const QUADS: usize>(
    coefficients: &[Prepared],
    strips: &Strips,
) {
    // SAFETY: the caller's promise.
    unsafe { run::<V, Quads<QUADS>, 1>(coefficients, strips) }
}

/// The step of a pass of so many quads. The sums of each take four registers as it is, so a step takes
/// one vector of every strip.
struct Quads<const QUADS: usize>;

impl<V: Vector, const QUADS: usize> Step<V, 1> for Quads<QUADS> {
    #[inline(always)]
    unsafe fn step<const SHORT: bool, const ASK: bool>(
        coefficients: &[Prepared],
        strips: &Strips,
        at: usize,
    ) {
        // SAFETY: the caller promises the instructions, the coefficients and the bytes.
        unsafe {
            let (inputs, _) = strips.inputs.as_chunks::<QUAD>();
            let (factors, rest) = coefficients.split_at_unchecked(FACTORS * inputs.len());
            let (rows, rest) = rest.split_at_unchecked(QUADS * inputs.len());
            let (factors, rows) = (factors.as_chunks::<FACTORS>().0, rows.as_chunks::<QUADS>().0);
            let in_pairs = if V::ADDS_TWO { inputs.len() / 2 * 2 } else { 0 };
            let mut sums = Sums::<V, QUADS, QUAD>::zero();
            let mut input = 0;
            while input < in_pairs {
                let one = read::<V, SHORT, ASK>(inputs, factors, input, at, strips.length);
                let other = read::<V, SHORT, ASK>(inputs, factors, input + 1, at, strips.length);
                let rows = [rows.get_unchecked(input), rows.get_unchecked(input + 1)];
                sums.add_products([operands(one), operands(other)], rows);
                input += 2;
            }
            while input < inputs.len() {
                let quad = read::<V, SHORT, ASK>(inputs, factors, input, at, strips.length);
                sums.add_product(operands(quad), rows.get_unchecked(input));
                input += 1;
            }
            let (forward, _) = rest.as_chunks::<FACTORS>();
            for (quad, &sums) in sums.0.iter().enumerate() {
                let values = values(sums, forward.get_unchecked(quad));
                for (place, value) in values.into_iter().enumerate() {
                    if let Some(&output) = strips.outputs.get(QUAD * quad + place) {
                        store::<V, 1, SHORT>([value], output.add(at), strips.length);
                    }
                }
            }
        }
    }
}

/// The coefficients of the polynomial whose values at the points of a quad are read at a place.
///
/// # Safety
/// The processor has the instructions, there is such an input, and its bytes can be read.
#[inline(always)]
unsafe fn read<V: Vector, const SHORT: bool, const ASK: bool>(
    inputs: &[[*mut u8; QUAD]],
    factors: &[[Prepared; FACTORS]],
    input: usize,
    at: usize,
    length: usize,
) -> Quad<V> {
    // SAFETY: the caller's promise.
    unsafe {
        let mut values = [V::zero(); QUAD];
        for (value, &input) in values.iter_mut().zip(inputs.get_unchecked(input)) {
            if ASK {
                prefetch::<V, 1>(input, at);
            }
            let [vector] = load::<V, 1, SHORT>(input.add(at), length);
            *value = vector;
        }
        let [outer, low, high] = *factors.get_unchecked(input);
        let [y0, y1, y2, y3] = values;
        let ([a0, a1], [b0, b1]) = (divide([y0, y1], low), divide([y2, y3], high));
        let ([c0, c2], [c1, c3]) = (divide([a0, b0], outer), divide([a1, b1], outer));
        [c0, c1, c2, c3]
    }
}

/// The values at the points of a quad of the polynomial with these coefficients.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn values<V: Vector>([c0, c1, c2, c3]: Quad<V>, factors: &[Prepared; FACTORS]) -> Quad<V> {
    let [outer, low, high] = *factors;
    // SAFETY: the caller's promise.
    unsafe {
        let ([a0, b0], [a1, b1]) = (evaluate([c0, c2], outer), evaluate([c1, c3], outer));
        let ([y0, y1], [y2, y3]) = (evaluate([a0, a1], low), evaluate([b0, b1], high));
        [y0, y1, y2, y3]
    }
}

/// The values of c0 + c1·s where s is the factor, and where it is the factor plus 1.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn evaluate<V: Vector>([c0, c1]: [V; 2], factor: Prepared) -> [V; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let value = c0.add_product(c1.operand(), V::factor(factor));
        [value, value.add(c1)]
    }
}

/// The inverse of [`evaluate`].
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn divide<V: Vector>([y0, y1]: [V; 2], factor: Prepared) -> [V; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let difference = y0.add(y1);
        [y0.add_product(difference.operand(), V::factor(factor)), difference]
    }
}

//! The loop of all vector kernels: sums of products, kept in registers.
//!
//! One step takes a few vectors at one place of every strip. It loads each input once, multiplies
//! it by the coefficient of each output and adds that to the output's sum; the sums never leave the
//! registers until they are stored, once. What a vector is and how it is multiplied by a constant
//! is the processor's part: [`Vector`].

use super::kernel::Prepared;
use super::pair_sum::PairSum;
use super::program::Strips;

/// Strips that the prefetchers of processors follow at a time. With more of them, the loop asks for
/// the bytes that it will need.
const STREAMS: usize = 16;
/// How far ahead it asks.
const AHEAD: usize = 4096;
/// Bytes of a line of a cache.
const LINE: usize = 64;

/// A vector register of bytes and the operations that a kernel needs of it.
///
/// # Safety
/// Every method needs the instructions of the implementation; callers reach the loop only through a
/// function that enables them, into which all of it is inlined.
pub(super) trait Vector: Copy {
    /// Bytes of a vector.
    const LEN: usize;
    /// A constant factor, ready to be used many times.
    type Factor: Copy;
    /// A vector, ready to be multiplied by many factors.
    type Operand: Copy;

    /// All bytes zero.
    unsafe fn zero() -> Self;
    /// The bytes at `source`, at any alignment; `LEN` of them can be read.
    unsafe fn load(source: *const u8) -> Self;
    /// Stores to `target`, at any alignment; `LEN` bytes can be written.
    unsafe fn store(self, target: *mut u8);
    /// Loads a factor that the kernel has prepared.
    unsafe fn factor(coefficient: Prepared) -> Self::Factor;
    /// Prepares a vector.
    unsafe fn operand(self) -> Self::Operand;
    /// The sum of this vector and the product.
    unsafe fn add_product(self, operand: Self::Operand, factor: Self::Factor) -> Self;

    /// The sum of this vector and two products.
    #[inline(always)]
    unsafe fn add_products(self, operands: [Self::Operand; 2], factors: [Self::Factor; 2]) -> Self {
        let [one, other] = operands;
        // SAFETY: the caller's promise is passed on.
        unsafe { self.add_product(one, factors[0]).add_product(other, factors[1]) }
    }

    /// The `length` < `LEN` bytes at `source`, then anything.
    #[inline(always)]
    unsafe fn load_first(source: *const u8, length: usize) -> Self {
        let mut bytes = [0; 64];
        // SAFETY: the caller promises `length` readable bytes; the buffer is longer than a vector.
        unsafe {
            std::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), length);
            Self::load(bytes.as_ptr())
        }
    }

    /// Stores the first `length` < `LEN` bytes.
    #[inline(always)]
    unsafe fn store_first(self, target: *mut u8, length: usize) {
        let mut bytes = [0; 64];
        // SAFETY: the caller promises `length` writable bytes; the buffer is longer than a vector.
        unsafe {
            self.store(bytes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, length);
        }
    }
}

/// Computes a pass, `VECTORS` vectors of each strip in a step.
///
/// # Safety
/// As for every kernel, and the pass has `OUTPUTS` outputs.
#[inline(always)]
pub(super) unsafe fn combine<V: Vector, const OUTPUTS: usize, const VECTORS: usize>(
    coefficients: &[Prepared],
    strips: &Strips,
) {
    let length = strips.length;
    let many = strips.inputs.len() + OUTPUTS > STREAMS;
    let whole = |at| Place { at, length: V::LEN, ask: many && at + AHEAD < length };
    // SAFETY: every place lies within the strips.
    unsafe {
        if length < V::LEN {
            let place = Place { at: 0, length, ask: false };
            return step::<V, OUTPUTS, 1, true>(coefficients, strips, place);
        }
        let mut at = 0;
        while at + VECTORS * V::LEN <= length {
            step::<V, OUTPUTS, VECTORS, false>(coefficients, strips, whole(at));
            at += VECTORS * V::LEN;
        }
        while at < length {
            // The last vector reaches back over bytes that are done and computes them again.
            let place = whole(at.min(length - V::LEN));
            step::<V, OUTPUTS, 1, false>(coefficients, strips, place);
            at += V::LEN;
        }
    }
}

/// Computes sums of two products, a vector at a time.
///
/// # Safety
/// As for every kernel for pairs.
#[inline(always)]
pub(super) unsafe fn sum_pairs<V: Vector>(
    sum: &PairSum,
    unit: usize,
    inputs: &[&[u8]],
    targets: &[*mut u8],
) {
    let single = sum.runs.iter().map(|run| (run, None));
    let mirrored = sum.mirrored.iter().map(|(run, mirror)| (run, Some(*mirror)));
    // SAFETY: the caller promises the instructions, and that every run lies within its strips.
    unsafe {
        let factors = sum.coefficients.map(|coefficient| V::factor(coefficient));
        let target =
            |(strip, place): (usize, usize)| targets.get_unchecked(strip).add(place * unit);
        for (run, mirror) in single.chain(mirrored) {
            let sources = run
                .inputs
                .map(|(strip, place)| inputs.get_unchecked(strip).as_ptr().add(place * unit));
            let length = run.length * unit;
            match mirror {
                None => sum_run::<V, 1>(factors, sources, [target(run.output)], length),
                Some(mirror) => {
                    sum_run::<V, 2>(factors, sources, [target(run.output), target(mirror)], length);
                }
            }
        }
    }
}

/// Computes one run, and with two targets the one that mirrors it.
///
/// # Safety
/// The processor has the instructions, and `length` bytes can be read and written.
#[inline(always)]
unsafe fn sum_run<V: Vector, const TARGETS: usize>(
    [first, second]: [V::Factor; 2],
    sources: [*const u8; 2],
    targets: [*mut u8; TARGETS],
    length: usize,
) {
    // SAFETY: the caller promises the instructions and the bytes.
    unsafe {
        let sums = |operands: [V::Operand; 2]| -> [V; TARGETS] {
            std::array::from_fn(|target| {
                let [one, other] = [operands[target], operands[1 - target]];
                V::zero().add_product(one, first).add_product(other, second)
            })
        };
        if length < V::LEN {
            let operands = sources.map(|source| V::load_first(source, length).operand());
            for (bytes, target) in sums(operands).into_iter().zip(targets) {
                bytes.store_first(target, length);
            }
            return;
        }
        let mut at = 0;
        while at < length {
            // The last vector reaches back over bytes that are done and computes them again.
            let start = at.min(length - V::LEN);
            let operands = sources.map(|source| V::load(source.add(start)).operand());
            for (bytes, target) in sums(operands).into_iter().zip(targets) {
                bytes.store(target.add(start));
            }
            at += V::LEN;
        }
    }
}

/// Where in the strips a step works.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    /// Bytes of each vector that exist; all but in a strip that is shorter than a vector.
    length: usize,
    /// Whether to ask for the bytes of steps to come.
    ask: bool,
}

/// Computes `VECTORS` vectors of every output.
///
/// # Safety
/// As for every kernel, there are `OUTPUTS` outputs, and the place lies within the strips.
#[inline(always)]
unsafe fn step<V: Vector, const OUTPUTS: usize, const VECTORS: usize, const SHORT: bool>(
    coefficients: &[Prepared],
    strips: &Strips,
    Place { at, length, ask }: Place,
) {
    // SAFETY: the caller promises the instructions and the bytes that are read and written.
    unsafe {
        let load = |strip: *mut u8, vector: usize| {
            let source = strip.add(at + vector * V::LEN);
            if SHORT { V::load_first(source, length) } else { V::load(source) }
        };
        let operands = |strip: *mut u8| -> [V::Operand; VECTORS] {
            std::array::from_fn(|vector| {
                if ask && vector * V::LEN % LINE == 0 {
                    prefetch(strip.wrapping_add(at + AHEAD + vector * V::LEN));
                }
                load(strip, vector).operand()
            })
        };
        let mut sums = [[V::zero(); VECTORS]; OUTPUTS];
        if !strips.starts.is_empty() {
            for (output, sums) in sums.iter_mut().enumerate() {
                let start = *strips.starts.get_unchecked(output);
                *sums = std::array::from_fn(|vector| load(start, vector));
            }
        }
        let (pairs, last) = strips.inputs.as_chunks::<2>();
        let (rows, _) = coefficients.as_chunks::<OUTPUTS>();
        let (row_pairs, last_row) = rows.as_chunks::<2>();
        for (&[one, other], [first, second]) in pairs.iter().zip(row_pairs) {
            let (one, other) = (operands(one), operands(other));
            for (output, sums) in sums.iter_mut().enumerate() {
                let factors = [V::factor(first[output]), V::factor(second[output])];
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add_products([one[vector], other[vector]], factors);
                }
            }
        }
        for (&input, row) in last.iter().zip(last_row) {
            let operands = operands(input);
            for (sums, &coefficient) in sums.iter_mut().zip(row) {
                let factor = V::factor(coefficient);
                for (sum, &operand) in sums.iter_mut().zip(&operands) {
                    *sum = sum.add_product(operand, factor);
                }
            }
        }
        for (output, sums) in sums.into_iter().enumerate() {
            let target = strips.outputs.get_unchecked(output).add(at);
            for (vector, sum) in sums.into_iter().enumerate() {
                let target = target.add(vector * V::LEN);
                if SHORT { sum.store_first(target, length) } else { sum.store(target) }
            }
        }
    }
}

/// Asks for a line, to be brought into the second-level cache; the byte need not exist.
#[inline(always)]
fn prefetch(byte: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: no address is wrong for a hint.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(byte.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = byte;
}

//! The loop over the strips of a pass.
//!
//! One step takes a few vectors at one place of every strip. It loads each input once, multiplies it
//! by the coefficient of each output and adds that to the output's sum; the sums never leave the
//! registers until they are stored, once.

use super::kernel::Prepared;
use super::program::Strips;
use super::vector::{Sums, Vector, load, operands, store};

/// Strips that the prefetchers of processors follow at a time. With more of them, the loop asks for
/// the bytes that it will need.
const STREAMS: usize = 16;
/// How far ahead it asks.
const AHEAD: usize = 4096;
/// Bytes of all those strips from which on it takes a vector at a time: from memory, a line of each
/// strip after the other comes faster than two.
const BEYOND_CACHES: usize = 4 * 1024 * 1024;
/// Bytes of a line of a cache.
const LINE: usize = 64;

/// What a pass does at one place of all strips.
pub(super) trait Step<V: Vector, const VECTORS: usize> {
    /// Computes `VECTORS` vectors of every output, or if `SHORT` all bytes of strips that are shorter
    /// than a vector; if `ASK` it asks for the bytes of a step to come.
    ///
    /// # Safety
    /// As for the kernel of the pass, and the place lies within the strips.
    unsafe fn step<const SHORT: bool, const ASK: bool>(
        coefficients: &[Prepared],
        strips: &Strips,
        at: usize,
    );
}

/// Computes a pass of sums, `VECTORS` vectors of each strip in a step.
///
/// # Safety
/// As for every kernel, and the pass has `OUTPUTS` outputs.
#[inline(always)]
pub(super) unsafe fn combine<V: Vector, const OUTPUTS: usize, const VECTORS: usize>(
    coefficients: &[Prepared],
    strips: &Strips,
) {
    // SAFETY: the caller's promise.
    unsafe { run::<V, Combine<OUTPUTS>, VECTORS>(coefficients, strips) }
}

/// Computes a pass step by step.
///
/// # Safety
/// As for the kernel of the pass.
#[inline(always)]
pub(super) unsafe fn run<V: Vector, S: Step<V, 1> + Step<V, VECTORS>, const VECTORS: usize>(
    coefficients: &[Prepared],
    strips: &Strips,
) {
    let length = strips.length;
    let count = strips.inputs.len() + strips.outputs.len();
    // SAFETY: every step lies within the strips.
    unsafe {
        if length < V::LEN {
            return <S as Step<V, 1>>::step::<true, false>(coefficients, strips, 0);
        }
        // A store across two lines of a cache takes twice as long, so begin with a whole vector of the
        // first output: the other outputs often lie alike.
        let aligned = strips.outputs.get_unchecked(0).align_offset(V::LEN);
        let mut at = aligned.min(length - V::LEN);
        if at > 0 {
            <S as Step<V, 1>>::step::<false, false>(coefficients, strips, 0);
        }
        if count > STREAMS {
            while count * length > BEYOND_CACHES && at + AHEAD < length {
                <S as Step<V, 1>>::step::<false, true>(coefficients, strips, at);
                at += V::LEN;
            }
            while at + AHEAD < length {
                <S as Step<V, VECTORS>>::step::<false, true>(coefficients, strips, at);
                at += VECTORS * V::LEN;
            }
        }
        while at + VECTORS * V::LEN <= length {
            <S as Step<V, VECTORS>>::step::<false, false>(coefficients, strips, at);
            at += VECTORS * V::LEN;
        }
        while at < length {
            // The last vector reaches back over bytes that are done and computes them again.
            let at_most = at.min(length - V::LEN);
            <S as Step<V, 1>>::step::<false, false>(coefficients, strips, at_most);
            at += V::LEN;
        }
    }
}

/// The step of a pass of sums.
struct Combine<const OUTPUTS: usize>;

impl<V: Vector, const OUTPUTS: usize, const VECTORS: usize> Step<V, VECTORS> for Combine<OUTPUTS> {
    #[inline(always)]
    unsafe fn step<const SHORT: bool, const ASK: bool>(
        coefficients: &[Prepared],
        strips: &Strips,
        at: usize,
    ) {
        // SAFETY: the caller promises the instructions and the bytes that are read and written.
        unsafe {
            let length = strips.length;
            let mut sums = Sums::<V, OUTPUTS, VECTORS>::zero();
            if !strips.starts.is_empty() {
                for (output, sums) in sums.0.iter_mut().enumerate() {
                    let start = strips.starts.get_unchecked(output).add(at);
                    *sums = load::<V, VECTORS, SHORT>(start, length);
                }
            }
            let (rows, _) = coefficients.as_chunks::<OUTPUTS>();
            let in_pairs = if V::ADDS_TWO { strips.inputs.len() / 2 * 2 } else { 0 };
            let (pairs, inputs) = strips.inputs.split_at_unchecked(in_pairs);
            let (row_pairs, rows) = rows.split_at_unchecked(in_pairs);
            for (&[one, other], rows) in
                pairs.as_chunks::<2>().0.iter().zip(row_pairs.as_chunks::<2>().0)
            {
                if ASK {
                    prefetch::<V, VECTORS>(one, at);
                    prefetch::<V, VECTORS>(other, at);
                }
                let one = operands(load::<V, VECTORS, SHORT>(one.add(at), length));
                let other = operands(load::<V, VECTORS, SHORT>(other.add(at), length));
                sums.add_products([one, other], [&rows[0], &rows[1]]);
            }
            for (&input, row) in inputs.iter().zip(rows) {
                if ASK {
                    prefetch::<V, VECTORS>(input, at);
                }
                sums.add_product(operands(load::<V, VECTORS, SHORT>(input.add(at), length)), row);
            }
            for (output, sums) in sums.0.into_iter().enumerate() {
                let target = strips.outputs.get_unchecked(output).add(at);
                store::<V, VECTORS, SHORT>(sums, target, length);
            }
        }
    }
}

/// Asks for so many vectors of a strip ahead of a place, to be brought into the second-level cache;
/// they need not exist.
#[inline(always)]
pub(super) fn prefetch<V: Vector, const VECTORS: usize>(strip: *const u8, at: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..VECTORS * V::LEN).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: no address is wrong for a hint.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(strip.wrapping_add(at + AHEAD + line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (strip, at);
}
